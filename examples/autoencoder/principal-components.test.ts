/** Linear codes, against what the spectrum of the data says they lose. */

import { RandomStream } from "../../lib/random/stream.ts";
import { linearCodeError } from "./principal-components.ts";

test("the code of a width loses exactly what the directions beyond it hold", () => {
  // Points on the axes of a rotated frame: the k-th direction has the mean square scales[k]^2 / 4.
  const scales = [8, 4, 2, 1];
  const frame = [
    [0.5, 0.5, 0.5, 0.5],
    [0.5, 0.5, -0.5, -0.5],
    [0.5, -0.5, 0.5, -0.5],
    [0.5, -0.5, -0.5, 0.5],
  ];
  const points = scales.flatMap((scale, k) => [scale, -scale].map((s) => frame[k]!.map((v) => 3 + s * v)));
  const rows = Float32Array.from(points.flat());
  for (let width = 1; width <= 4; width++) {
    const lost = scales.slice(width).reduce((sum, scale) => sum + scale ** 2 / 4, 0) / 4;
    expect(linearCodeError(rows, rows, 4, width)).toBeCloseTo(lost, 6);
  }
});

test("other rows lose what lies off the plane of the first", () => {
  const random = RandomStream.named(2, "plane");
  // A plane through (1, 1, 1) along x and y.
  const plane = Float32Array.from({ length: 300 }, (_, i) => (i % 3 === 2 ? 1 : random.uniform() * 2));
  expect(linearCodeError(plane, Float32Array.of(5, -3, 1), 3, 2)).toBeCloseTo(0, 6);
  expect(linearCodeError(plane, Float32Array.of(5, -3, 4), 3, 2)).toBeCloseTo(3, 6);
});
