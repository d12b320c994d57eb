/** Pieces of a layout: together they are the layout, in order, whatever its weights' sizes. */

import { RandomStream } from "../random/stream.ts";
import { pieceShape, piecesOf, type WeightLayout } from "./weight-layout.ts";

function layout(shapes: readonly number[][]): WeightLayout {
  let size = 0;
  const slices = shapes.map((shape, i) => {
    const slice = { name: `w${i}`, shape, offset: size, size: shape.reduce((a, b) => a * b, 1) };
    size += slice.size;
    return slice;
  });
  return { slices, size };
}

test("large weights travel alone in their shape, small neighbours flat and together", () => {
  const pieces = piecesOf(layout([[2, 3], [4], [400, 300], [5], [500, 200], [300, 500], [], [7]]));
  expect(pieces.map(pieceShape)).toEqual([[10], [400, 300], [5], [500, 200], [300, 500], [8]]);
  expect(pieces.map(({ offset }) => offset)).toEqual([0, 10, 120_010, 120_015, 220_015, 370_015]);
});

test("pieces are the layout, in order", () => {
  const random = RandomStream.named(1, "pieces");
  for (let round = 0; round < 200; round++) {
    const given = layout(Array.from({ length: random.below(12) }, () => [1 + random.below(200_000)]));
    const pieces = piecesOf(given);
    expect(pieces.flatMap(({ slices }) => slices)).toEqual(given.slices);
    let at = 0;
    for (const { offset, size, slices } of pieces) {
      expect(offset).toBe(at);
      expect(slices.reduce((sum, slice) => sum + slice.size, 0)).toBe(size);
      at += size;
    }
    expect(at).toBe(given.size);
  }
});
