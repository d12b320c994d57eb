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
  const pieces = piecesOf(layout([[2, 3], [4], [200, 100], [5], [128, 128], [300, 100], [], [7]]));
  expect(pieces.map(pieceShape)).toEqual([[10], [200, 100], [5], [128, 128], [300, 100], [8]]);
  expect(pieces.map(({ offset }) => offset)).toEqual([0, 10, 20_010, 20_015, 36_399, 66_399]);
});

test("pieces are the layout, in order", () => {
  const random = RandomStream.named(1, "pieces");
  for (let round = 0; round < 200; round++) {
    const given = layout(Array.from({ length: random.below(12) }, () => [1 + random.below(40_000)]));
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
