/**
 * Every operator, run by ONNX Runtime, against values worked out by hand from what it is said to do (resizing: from
 * ONNX's definition of `half_pixel`).
 */

import { InferenceSession, type Tensor as OrtTensor } from "onnxruntime-node";
import { InvalidModelError } from "../errors.ts";
import type { OperatorCall } from "../protocol/ensembles.ts";
import { fromOrt, toOrt } from "../runtime/ort-tensor.ts";
import type { Datatype, TensorData } from "../tensor/datatype.ts";
import type { Tensor, TensorSpec } from "../tensor/tensor.ts";
import { buildOperators } from "./operator-graph.ts";
import { OPERATORS } from "./operators/table.ts";

const tensor = (name: string, datatype: Datatype, shape: number[], data: TensorData): Tensor => ({
  name,
  datatype,
  shape,
  data,
});
const floats = (shape: number[], ...values: number[]) => tensor("x", "FP32", shape, new Float32Array(values));
const bytes = (shape: number[], ...values: number[]) => tensor("x", "UINT8", shape, new Uint8Array(values));
const longs = (shape: number[], ...values: number[]) =>
  tensor("x", "INT64", shape, BigInt64Array.from(values, BigInt));
const named = (name: string, other: Tensor): Tensor => ({ ...other, name });

/** The same with rows left open. */
const open = ({ name, datatype, shape }: Tensor): TensorSpec => ({
  name,
  datatype,
  shape: [-1, ...shape.slice(1)],
});

async function run(
  call: OperatorCall,
  inputs: Tensor[],
  specs: TensorSpec[] = inputs.map(open),
): Promise<Tensor[]> {
  const { outputs = ["y"], ...rest } = call;
  const graph = buildOperators(
    [
      {
        name: "s",
        operators: [{ inputs: inputs.map(({ name }) => name), ...rest, outputs } as OperatorCall],
      },
    ],
    specs,
  );
  const session = await InferenceSession.create(graph.model(), { logSeverityLevel: 4 });
  try {
    const results = await session.run(
      Object.fromEntries(inputs.map((input) => [input.name, toOrt(input) as OrtTensor])),
    );
    const given = graph.outputs.map(({ name }) => fromOrt(name, results[name]!));
    for (const [i, { shape, datatype }] of given.entries()) {
      const promised = graph.outputs[i]!;
      expect(datatype).toBe(promised.datatype);
      expect(shape.map((size, axis) => (promised.shape[axis] === -1 ? -1 : size))).toEqual(promised.shape);
    }
    return given;
  } finally {
    await session.release();
  }
}

const channels = floats([1, 1, 2, 3], 1, 2, 3, 4, 5, 6);
const grid = floats([1, 2, 2, 1], 0, 1, 2, 3);
const ten = floats([2, 5], 3, 1, 4, 1, 5, 9, 2, 6, 5, 3);

type Case = [OperatorCall, Tensor[], Tensor[]];
const f = Math.fround;
const CASES: Case[] = [
  [{ operator: "cast", to: "FP32" }, [bytes([1, 2], 7, 255)], [floats([1, 2], 7, 255)]],
  [
    { operator: "cast", to: "BOOL" },
    [floats([1, 2], 0, 3)],
    [tensor("y", "BOOL", [1, 2], Uint8Array.of(0, 1))],
  ],
  [
    { operator: "reshape", shape: [0, 3, -1] },
    [floats([1, 6], 1, 2, 3, 4, 5, 6)],
    [floats([1, 3, 2], 1, 2, 3, 4, 5, 6)],
  ],
  [{ operator: "flatten" }, [channels], [floats([1, 6], 1, 2, 3, 4, 5, 6)]],
  [{ operator: "transpose", order: [0, 3, 1, 2] }, [channels], [floats([1, 3, 1, 2], 1, 4, 2, 5, 3, 6)]],
  [
    { operator: "slice", starts: [1], ends: [-1], axes: [1], steps: [2] },
    [ten],
    [floats([2, 2], 1, 1, 2, 5)],
  ],
  [{ operator: "gather", indices: [4, 0], axis: 1 }, [ten], [floats([2, 2], 5, 3, 3, 9)]],
  [
    { operator: "gather", axis: 1 },
    [floats([1, 3], 5, 6, 7), named("at", longs([2], 2, 0))],
    [floats([1, 2], 7, 5)],
  ],
  [
    { operator: "concat", axis: 1 },
    [named("a", floats([1, 2], 1, 2)), named("b", floats([1, 1], 3)), named("c", floats([1, 2], 4, 5))],
    [floats([1, 5], 1, 2, 3, 4, 5)],
  ],
  [
    { operator: "pad", before: [0, 1, 0, 0], after: [0, 0, 1, 0], value: 9 },
    [grid],
    [floats([1, 3, 3, 1], 9, 9, 9, 0, 1, 9, 2, 3, 9)],
  ],
  [
    { operator: "pad", before: [0, 1, 0, 0], after: [0, 0, 0, 0], mode: "edge" },
    [bytes([1, 2, 1, 1], 4, 5)],
    [bytes([1, 3, 1, 1], 4, 4, 5)],
  ],
  [
    { operator: "crop", size: [1, 2] },
    [floats([1, 3, 3, 1], 0, 1, 2, 3, 4, 5, 6, 7, 8)],
    [floats([1, 1, 2, 1], 3, 4)],
  ],
  [
    { operator: "crop", size: [1, 1], layout: "NCHW" },
    [floats([1, 2, 3, 1], 0, 1, 2, 3, 4, 5)],
    [floats([1, 2, 1, 1], 1, 4)],
  ],
  [
    { operator: "resize", size: [4, 4], mode: "nearest" },
    [grid],
    [floats([1, 4, 4, 1], 0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3)],
  ],
  [
    { operator: "resize", size: [4, 4] },
    [grid],
    [floats([1, 4, 4, 1], 0, 0.25, 0.75, 1, 0.5, 0.75, 1.25, 1.5, 1.5, 1.75, 2.25, 2.5, 2, 2.25, 2.75, 3)],
  ],
  [
    { operator: "resize", size: [2, 2], layout: "NCHW" },
    [floats([1, 1, 4, 4], ...Array.from({ length: 16 }, (_, i) => i))],
    [floats([1, 1, 2, 2], 2.5, 4.5, 10.5, 12.5)],
  ],
  [
    { operator: "resize", size: [1, 1], layout: "NCHW", antialias: true },
    [floats([1, 1, 2, 2], 0, 1, 2, 3)],
    [floats([1, 1, 1, 1], 1.5)],
  ],
  [
    { operator: "scale", scale: 2, offset: [10, 20, 30] },
    [channels],
    [floats([1, 1, 2, 3], 12, 24, 36, 18, 30, 42)],
  ],
  [{ operator: "scale", scale: 3 }, [longs([2], 1, -2)], [longs([2], 3, -6)]],
  [
    { operator: "normalize", mean: [1, 2, 3], std: [2, 3, 4] },
    [channels],
    [floats([1, 1, 2, 3], 0, 0, 0, f(3 / 2), f(3 / 3), f(3 / 4))],
  ],
  [
    { operator: "normalize", mean: [1, 2], std: 2, axis: 1 },
    [floats([1, 2, 1, 1], 3, 6)],
    [floats([1, 2, 1, 1], 1, 2)],
  ],
  [{ operator: "clip", min: 2, max: 5 }, [ten], [floats([2, 5], 3, 2, 4, 2, 5, 5, 2, 5, 5, 3)]],
  [{ operator: "clip", max: 5 }, [floats([1, 2], -7, 7)], [floats([1, 2], -7, 5)]],
  [
    { operator: "threshold", above: 3 },
    [floats([1, 3], 2, 3, 4)],
    [tensor("y", "BOOL", [1, 3], Uint8Array.of(0, 0, 1))],
  ],
  [
    { operator: "add" },
    [named("a", floats([1, 2], 1, 2)), named("b", floats([1, 1], 10)), named("c", floats([1, 2], 0, 5))],
    [floats([1, 2], 11, 17)],
  ],
  [{ operator: "subtract" }, [named("a", floats([1], 5)), named("b", floats([1], 2))], [floats([1], 3)]],
  [{ operator: "multiply" }, [named("a", floats([1], 5)), named("b", floats([1], 2))], [floats([1], 10)]],
  [{ operator: "divide" }, [named("a", floats([1], 5)), named("b", floats([1], 2))], [floats([1], 2.5)]],
  [
    { operator: "max" },
    [named("a", floats([1, 2], 5, 1)), named("b", floats([1, 2], 2, 3))],
    [floats([1, 2], 5, 3)],
  ],
  [
    { operator: "min" },
    [named("a", floats([1, 2], 5, 1)), named("b", floats([1, 2], 2, 3))],
    [floats([1, 2], 2, 1)],
  ],
  [
    { operator: "mean" },
    [named("a", floats([1, 2], 5, 1)), named("b", floats([1, 2], 2, 3))],
    [floats([1, 2], 3.5, 2)],
  ],
  [
    { operator: "mean", weights: [3, 1] },
    [named("a", floats([1, 2], 4, 0)), named("b", floats([1, 2], 0, 8))],
    [floats([1, 2], 3, 2)],
  ],
  [{ operator: "sigmoid" }, [floats([1, 1], 0)], [floats([1, 1], 0.5)]],
  [{ operator: "tanh" }, [floats([1, 1], 0)], [floats([1, 1], 0)]],
  [{ operator: "relu" }, [floats([1, 2], -1, 2)], [floats([1, 2], 0, 2)]],
  [{ operator: "exp" }, [floats([1, 1], 0)], [floats([1, 1], 1)]],
  [{ operator: "log" }, [floats([1, 1], 1)], [floats([1, 1], 0)]],
  [{ operator: "softmax" }, [floats([2, 2], 0, 0, 7, 7)], [floats([2, 2], 0.5, 0.5, 0.5, 0.5)]],
  [{ operator: "argMax" }, [ten], [longs([2], 4, 0)]],
  [{ operator: "argMax", keepDims: true }, [ten], [longs([2, 1], 4, 0)]],
  [
    { operator: "topK", k: 2, outputs: ["y", "at"] },
    [ten],
    [floats([2, 2], 5, 4, 9, 6), longs([2, 2], 4, 2, 0, 2)],
  ],
  [{ operator: "topK", k: 1 }, [ten], [floats([2, 1], 5, 9)]],
  [{ operator: "reduce", with: "mean", axes: [1] }, [ten], [floats([2], f(14 / 5), 5)]],
  [{ operator: "reduce", with: "sum", axes: [-1], keepDims: true }, [ten], [floats([2, 1], 14, 25)]],
  [{ operator: "reduce", with: "max", axes: [1] }, [ten], [floats([2], 5, 9)]],
  [{ operator: "reduce", with: "min", axes: [1] }, [ten], [floats([2], 1, 2)]],
  [
    { operator: "lookUp", values: ["zebra", "gnu", "élan"] },
    [longs([3], 2, 0, 1)],
    [tensor("y", "BYTES", [3], ["élan", "zebra", "gnu"])],
  ],
  [{ operator: "lookUp", values: [0.5, 7] }, [longs([2], 1, 0)], [floats([2], 7, 0.5)]],
];

describe("operators of ensembles", () => {
  test.each(CASES.map((one) => [JSON.stringify(one[0]), ...one] as const))(
    "%s",
    async (_, call, inputs, expected) => {
      const names = call.outputs ?? ["y"];
      expect(await run(call, inputs)).toEqual(expected.map((one, i) => ({ ...one, name: names[i] })));
    },
  );

  test("every operator has a case here", () => {
    const tested = new Set(CASES.map(([{ operator }]) => operator));
    expect(Object.keys(OPERATORS).filter((operator) => !tested.has(operator))).toEqual([]);
  });

  test("half precision stays half precision", async () => {
    const half = tensor("x", "FP16", [1, 1], Uint16Array.of(0x4000)); // 2
    expect(await run({ operator: "normalize", mean: 1, std: 0.5 }, [half])).toEqual([
      tensor("y", "FP16", [1, 1], Uint16Array.of(0x4000)),
    ]);
  });

  test.each<[OperatorCall, TensorSpec, string]>([
    [
      { operator: "normalize", mean: 0, std: 1 },
      { name: "x", datatype: "UINT8", shape: [-1, 3] },
      "Invalid model at step 's', operator 0 (normalize): received UINT8, expected FP32, FP16, FP64: cast it before",
    ],
    [
      { operator: "normalize", mean: [0, 1], std: 1 },
      { name: "x", datatype: "FP32", shape: [-1, 3] },
      "received 2 numbers for axis -1 of [-1,3], expected 3",
    ],
    [
      { operator: "scale", scale: 0.5 },
      { name: "x", datatype: "INT32", shape: [-1] },
      "received 0.5 for INT32",
    ],
    [{ operator: "scale" }, { name: "x", datatype: "FP32", shape: [-1] }, 'neither "scale" nor "offset"'],
    [
      { operator: "crop", size: [5, 5] },
      { name: "x", datatype: "FP32", shape: [-1, 4, 8, 3] },
      "received [-1,4,8,3], expected at least 5 along axis 1",
    ],
    [
      { operator: "crop", size: [5, 5] },
      { name: "x", datatype: "FP32", shape: [-1, -1, 8, 3] },
      "height of [-1,-1,8,3] must be known",
    ],
    [
      { operator: "resize", size: [5, 5] },
      { name: "x", datatype: "FP32", shape: [-1, 8] },
      "expected one of NHWC",
    ],
    [
      { operator: "transpose", order: [0, 2] },
      { name: "x", datatype: "FP32", shape: [-1, 8] },
      "operator 0 (transpose)",
    ],
    [
      { operator: "argMax", axis: 2 },
      { name: "x", datatype: "FP32", shape: [-1, 8] },
      "axis 2 is out of range",
    ],
    [{ operator: "topK", k: 9 }, { name: "x", datatype: "FP32", shape: [-1, 8] }, "9 elements of 8"],
    [{ operator: "cast", to: "FP32" }, { name: "x", datatype: "BYTES", shape: [-1] }, "received BYTES"],
    [
      { operator: "lookUp", values: ["a"] },
      { name: "x", datatype: "FP32", shape: [-1] },
      "expected INT64 or INT32",
    ],
    [{ operator: "reshape", shape: [0, 5] }, { name: "x", datatype: "FP32", shape: [-1, 8] }, "(reshape)"],
    [{ operator: "gather" }, { name: "x", datatype: "FP32", shape: [-1, 8] }, 'either "indices" or a second'],
    [
      { operator: "pad", before: [0, -1], after: [0, 0] },
      { name: "x", datatype: "FP32", shape: [-1, 8] },
      "received a negative count",
    ],
    [
      { operator: "resize", size: [16384, 16384] },
      { name: "x", datatype: "FP32", shape: [-1, 8, 8, 3] },
      "805306368 elements in a row",
    ],
    [
      { operator: "mean", weights: [1, 2] },
      { name: "x", datatype: "FP32", shape: [-1, 8] },
      "2 weights for 1 tensors",
    ],
  ])("%j of what does not fit is refused", (call, spec, message) => {
    const build = () =>
      buildOperators(
        [{ name: "s", operators: [{ ...call, inputs: ["x"], outputs: ["y"] } as OperatorCall] }],
        [spec],
      );
    expect(build).toThrow(InvalidModelError);
    expect(build).toThrow(message);
  });
});
