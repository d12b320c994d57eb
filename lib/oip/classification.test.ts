import type { Tensor } from "../tensor/tensor.ts";
import { classify } from "./classification.ts";

const scores = (data: Tensor["data"], shape: number[], datatype: Tensor["datatype"] = "FP32"): Tensor => ({
  name: "p",
  datatype,
  shape,
  data,
});

describe("classify", () => {
  test("gives each row's highest scores as value:index:label", () => {
    const tensor = scores(new Float32Array([0.1, 0.7, 0.2, 0.5, 0.25, 0.25]), [2, 3]);
    expect(classify(tensor, 2, ["cat", "dog"])).toEqual({
      name: "p",
      datatype: "BYTES",
      shape: [2, 2],
      data: ["0.700000:1:dog", "0.200000:2", "0.500000:0:cat", "0.250000:1:dog"],
    });
  });

  test("gives no more than there are, and one row without a batch", () => {
    const tensor = scores(new Float32Array([0.1, 0.9]), [1, 2]);
    expect(classify(tensor, 9, []).shape).toEqual([1, 2]);
    expect(classify(tensor, 1, [], false)).toMatchObject({ shape: [1], data: ["0.900000:1"] });
    expect(classify(scores(new Float32Array([4]), []), 3, [])).toMatchObject({
      shape: [1],
      data: ["4.000000:0"],
    });
    expect(classify(scores(new Float32Array(0), [0, 3]), 2, [])).toMatchObject({ shape: [0, 2], data: [] });
    expect(classify(scores(new Float32Array([5, 6]), [2]), 1, [], true).data).toEqual([
      "5.000000:0",
      "6.000000:0",
    ]);
  });

  test("prints as C++ does, whatever the magnitude", () => {
    const values = [1e-9, -1e-9, 2 ** 70, Number.NaN, Number.NEGATIVE_INFINITY];
    expect(classify(scores(new Float64Array(values), [5], "FP64"), 5, []).data).toEqual([
      "1180591620717411303424.000000:2",
      "0.000000:0",
      "-0.000000:1",
      "nan:3",
      "-inf:4",
    ]);
    const integers = scores(new BigInt64Array([2n ** 62n, -1n]), [2], "INT64");
    expect(classify(integers, 2, []).data).toEqual(["4611686018427387904:0", "-1:1"]);
    expect(classify(scores(new Uint8Array([3, 200]), [2], "UINT8"), 1, []).data).toEqual(["200:1"]);
  });

  test("keeps equal scores in the order of their indices", () => {
    const tied = scores(new Float32Array([1, 2, 2, 1, 2, 0]), [1, 6]);
    expect(classify(tied, 5, []).data).toEqual(
      [1, 2, 4].map((i) => `2.000000:${i}`).concat("1.000000:0", "1.000000:3"),
    );
  });

  test.each(["BOOL", "FP16", "BF16", "BYTES"] as const)("refuses %s, as Triton does", (datatype) => {
    expect(() => classify(scores(new Uint16Array(2), [1, 2], datatype), 1, [])).toThrow(
      `Invalid outputs["p"].parameters.classification: received an output of datatype ${datatype}`,
    );
  });

  test("refuses what would hold up the event loop", () => {
    expect(() => classify(scores(new Float32Array(1_000_001), [1, 1_000_001]), 1, [])).toThrow(
      "at most 1000000",
    );
    expect(() => classify(scores(new Float32Array(200_000), [1, 200_000]), 200_000, [])).toThrow(
      "at most 100000",
    );
  });
});
