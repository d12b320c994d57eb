/** Weights between Keras's order of axes and the order in memory. */

import { inMemoryOrder, kerasWeightShape } from "./weight-order.ts";

describe("the order of a weight's axes", () => {
  test("a kernel [KH, KW, C, F] becomes [F, C, KH, KW]", () => {
    const weight = { shape: [5, 4, 2, 3], order: [3, 2, 0, 1] };
    expect(kerasWeightShape(weight)).toEqual([2, 3, 4, 5]);
    const keras = Float32Array.from({ length: 120 }, (_, i) => i);
    const moved = inMemoryOrder(keras, weight);
    for (let f = 0; f < 5; f++)
      for (let c = 0; c < 4; c++)
        for (let h = 0; h < 2; h++)
          for (let w = 0; w < 3; w++)
            expect(moved[((f * 4 + c) * 2 + h) * 3 + w]).toBe(((h * 3 + w) * 4 + c) * 5 + f);
  });

  test("a cycle of axes goes the right way round", () => {
    const weight = { shape: [3, 4, 2], order: [1, 2, 0] };
    expect(kerasWeightShape(weight)).toEqual([2, 3, 4]);
    const moved = inMemoryOrder(
      Float32Array.from({ length: 24 }, (_, i) => i),
      weight,
    );
    for (let a = 0; a < 2; a++)
      for (let b = 0; b < 3; b++)
        for (let c = 0; c < 4; c++) expect(moved[(b * 4 + c) * 2 + a]).toBe((a * 3 + b) * 4 + c);
  });

  test("a weight without an order stays as it is", () => {
    const values = Float32Array.of(1, 2);
    expect(inMemoryOrder(values, { shape: [2] })).toBe(values);
    expect(kerasWeightShape({ shape: [2] })).toEqual([2]);
  });
});
