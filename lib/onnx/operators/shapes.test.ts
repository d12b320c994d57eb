/**
 * Shape rules against what ONNX Runtime really returns: every operator of the table is run on generated inputs, and
 * the type and shape it gives must be the ones inferred. With a named batch the same graph is run for two sizes.
 */

import { LoadedGraph, lowered, normals } from "../../../test/support/graph-runner.ts";
import { RandomStream } from "../../random/stream.ts";
import type { Datatype, NumericArray } from "../../tensor/datatype.ts";
import { elementCount } from "../../tensor/tensor.ts";
import { GraphBuilder } from "../builder.ts";
import { type Attributes, type Dim, float, type TensorLiteral } from "../graph.ts";
import { ONNX_TYPE } from "../proto.ts";
import { OPERATORS } from "./table.ts";

type Input = { shape: Dim[]; datatype?: Datatype } | TensorLiteral | undefined;
type Case = { op: string; inputs: Input[]; attributes?: Attributes; outputs?: number };

const random = RandomStream.named(5, "shapes");
const draw = (low: number, high: number) => low + random.below(high - low + 1);
const x = (...shape: Dim[]): Input => ({ shape });
const typed = (datatype: Datatype, ...shape: Dim[]): Input => ({ shape, datatype });
const ints = (...values: number[]): TensorLiteral => ({
  datatype: "INT64",
  shape: [values.length],
  data: BigInt64Array.from(values, BigInt),
});
const scalar = (value: number): TensorLiteral => ({
  datatype: "FP32",
  shape: [],
  data: Float32Array.of(value),
});

const fixed = (...values: number[]): TensorLiteral => ({
  datatype: "FP32",
  shape: [values.length],
  data: Float32Array.from(values),
});

const UNARY =
  "Identity Neg Abs Exp Log Sqrt Reciprocal Relu Sigmoid Tanh Softplus Softsign Erf Sign Floor Ceil Round Clip " +
  "LeakyRelu Elu Selu HardSigmoid Sin Cos Softmax LogSoftmax";

const PAIRS: [Dim[], Dim[]][] = [
  [
    [2, 3],
    [2, 3],
  ],
  [[2, 3], [3]],
  [[], [4, 1]],
  [
    [3, 1, 2],
    [5, 1],
  ],
  [["batch", 3], [1]],
  [
    ["batch", 1, 3],
    ["batch", 4, 1],
  ],
  [
    [1, 4],
    ["batch", 4],
  ],
  [
    [0, 3],
    [1, 3],
  ],
];

function elementwise(): Case[] {
  const cases: Case[] = [];
  for (const op of UNARY.split(" "))
    for (const shape of [[3], [2, 3, 1], ["batch", 4]]) cases.push({ op, inputs: [x(...shape)] });
  for (const [a, b] of PAIRS) {
    for (const op of [
      "Add",
      "Sub",
      "Mul",
      "Div",
      "Pow",
      "Sum",
      "Mean",
      "Max",
      "Min",
      "Equal",
      "Greater",
      "GreaterOrEqual",
      "Less",
      "LessOrEqual",
    ])
      cases.push({ op, inputs: [x(...a), x(...b)] });
    for (const op of ["And", "Or"]) cases.push({ op, inputs: [typed("BOOL", ...a), typed("BOOL", ...b)] });
    cases.push({ op: "Where", inputs: [typed("BOOL", ...a), x(...b), x(...a)] });
  }
  cases.push({ op: "PRelu", inputs: [x("batch", 3, 2), x(3, 1)] });
  cases.push({ op: "Not", inputs: [typed("BOOL", 2, 3)] });
  cases.push({ op: "Sum", inputs: [x(2, 1), x(3), x(1, 1, 1)] });
  for (const to of ["INT64", "FP64", "BOOL", "UINT8", "INT32", "FP16"] as const)
    cases.push({ op: "Cast", inputs: [x("batch", 2)], attributes: { to: ONNX_TYPE[to] } });
  return cases;
}

function folding(): Case[] {
  const cases: Case[] = [];
  for (const op of [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL2",
    "ReduceSumSquare",
  ])
    for (const keepdims of [0, 1])
      for (const axes of [undefined, [], [0], [-1, 1], [0, 1, 2]])
        for (const noop_with_empty_axes of [0, 1])
          cases.push({
            op,
            inputs: [x("batch", 3, 4), axes && ints(...axes)],
            attributes: { keepdims, noop_with_empty_axes },
          });
  for (const op of ["ArgMax", "ArgMin"])
    for (const axis of [0, 1, -1])
      for (const keepdims of [0, 1]) cases.push({ op, inputs: [x(3, 4)], attributes: { axis, keepdims } });
  for (const axis of [1, -1])
    cases.push({ op: "TopK", inputs: [x("batch", 4, 3), ints(2)], attributes: { axis }, outputs: 2 });
  cases.push({ op: "TopK", inputs: [x(3, "batch"), ints(1)], attributes: { axis: 1 }, outputs: 2 });
  for (const reduction of ["mean", "sum", "none"])
    for (const outputs of [1, 2])
      cases.push({
        op: "SoftmaxCrossEntropyLoss",
        inputs: [x("batch", 3), typed("INT64", "batch")],
        attributes: { reduction },
        outputs,
      });
  return cases;
}

function linear(): Case[] {
  const cases: Case[] = [];
  for (const transA of [0, 1])
    for (const transB of [0, 1])
      for (const addend of [undefined, x(5), x(1, 5), x()])
        cases.push({
          op: "Gemm",
          inputs: [transA ? x(4, 3) : x(3, 4), transB ? x(5, 4) : x(4, 5), addend],
          attributes: { transA, transB },
        });
  cases.push({ op: "Gemm", inputs: [x("batch", 4), x(4, 2)] });
  for (const [a, b] of [
    [
      ["batch", 4],
      [4, 2],
    ],
    [
      [2, 3, 4],
      [4, 5],
    ],
    [
      ["batch", 1, 3, 4],
      [2, 4, 5],
    ],
    [
      [3, 4],
      [2, 4, 1],
    ],
  ] as Dim[][][])
    cases.push({ op: "MatMul", inputs: [x(...a!), x(...b!)] });
  return cases;
}

type Window = { kernel_shape: number[]; strides: number[]; dilations: number[]; pads: number[] };

/** How many places a window has along each axis. */
const outOf = (size: number[], { kernel_shape, strides, dilations, pads }: Window) =>
  size.map((whole, i) => {
    const reach = dilations[i]! * (kernel_shape[i]! - 1) + 1;
    return Math.floor((whole + pads[i]! + pads[i + size.length]! - reach) / strides[i]!) + 1;
  });

function windows(): Case[] {
  const cases: Case[] = [];
  for (let i = 0; i < 40; i++) {
    const spatial = i % 3 === 2 ? 1 : 2;
    const all = <T>(make: () => T): T[] => Array.from({ length: spatial }, make);
    const kernel = all(() => draw(1, 3));
    const strides = all(() => draw(1, 3));
    const dilations = all(() => draw(1, 2));
    const pads = [...kernel, ...kernel].map((size) => draw(0, size - 1));
    const size = kernel.map((k, axis) => dilations[axis]! * (k - 1) + 1 + draw(0, 4));
    const group = i % 4 === 3 ? 2 : 1;
    const [depth, filters] = [draw(1, 3), group * draw(1, 2)];
    const attributes = { kernel_shape: kernel, strides, dilations, pads };
    if (spatial === 2) {
      const [image, gradient] = [x(depth * group, 2, ...size), x(filters, 2, ...outOf(size, attributes))];
      const weight = x(filters, depth, ...kernel);
      const grouped = { ...attributes, group };
      cases.push({ op: "ColumnConv", inputs: [image, weight], attributes: grouped });
      cases.push({
        op: "ColumnConvImage",
        inputs: [gradient, weight],
        attributes: { ...grouped, image: size },
      });
      cases.push({ op: "ColumnConvKernel", inputs: [image, gradient], attributes: grouped });
    }
    cases.push({
      op: "Conv",
      inputs: [x("batch", depth * group, ...size), x(filters, depth, ...kernel)],
      attributes: { ...attributes, group },
    });
    cases.push({ op: "MaxPool", inputs: [x("batch", depth, ...size)], attributes, outputs: draw(1, 2) });
    const { dilations: _, ...plain } = attributes;
    cases.push({ op: "AveragePool", inputs: [x("batch", depth, ...size)], attributes: plain });
    const aligned = { kernel_shape: kernel, strides: kernel, ceil_mode: 1 };
    for (const op of ["MaxPool", "AveragePool"])
      cases.push({ op, inputs: [x(2, depth, ...size)], attributes: aligned });
    const output_padding = strides.map((stride) => draw(0, stride - 1));
    cases.push({
      op: "ConvTranspose",
      inputs: [x("batch", group * depth, ...size), x(group * depth, filters, ...kernel)],
      attributes: { strides, dilations, pads: pads.map(() => 0), output_padding, group },
    });
  }
  for (const op of ["GlobalAveragePool", "GlobalMaxPool"]) cases.push({ op, inputs: [x("batch", 3, 4, 5)] });
  return cases;
}

function structure(): Case[] {
  const cases: Case[] = [
    { op: "Reshape", inputs: [x(2, 3, 4), ints(0, -1)] },
    { op: "Reshape", inputs: [x("batch", 3, 4), ints(-1, 12)] },
    { op: "Reshape", inputs: [x("batch", 3, 4), ints(0, 2, -1)] },
    { op: "Reshape", inputs: [x(2, 3), ints(6)] },
    { op: "Reshape", inputs: [x(1, 1), { datatype: "INT64", shape: [0], data: new BigInt64Array(0) }] },
    { op: "Flatten", inputs: [x("batch", 3, 4)] },
    ...[0, 1, 2, 3, -1].map((axis) => ({ op: "Flatten", inputs: [x(2, 3, 4)], attributes: { axis } })),
    { op: "Transpose", inputs: [x("batch", 3, 4)] },
    { op: "Transpose", inputs: [x("batch", 3, 4)], attributes: { perm: [1, 2, 0] } },
    { op: "Concat", inputs: [x("batch", 2), x("batch", 3)], attributes: { axis: 1 } },
    { op: "Concat", inputs: [x(2, 3), x(1, 3), x(4, 3)], attributes: { axis: -2 } },
    { op: "Split", inputs: [x("batch", 6), ints(1, 5)], attributes: { axis: 1 }, outputs: 2 },
    { op: "Split", inputs: [x(7, 2)], attributes: { num_outputs: 3 }, outputs: 3 },
    { op: "Split", inputs: [x(6, 2)], attributes: { num_outputs: 2 }, outputs: 2 },
    { op: "Squeeze", inputs: [x(1, 3, 1)] },
    { op: "Squeeze", inputs: [x("batch", 1, 3, 1), ints(1, -1)] },
    { op: "Unsqueeze", inputs: [x("batch", 3), ints(0, -1)] },
    { op: "Unsqueeze", inputs: [x(), ints(0)] },
    { op: "Expand", inputs: [x(3, 1), ints(2, 1, 4)] },
    { op: "Expand", inputs: [x("batch", 1), ints(1, 4)] },
    { op: "Gather", inputs: [x("batch", 5), ints(0, 3, 1)], attributes: { axis: 1 } },
    { op: "Gather", inputs: [x(5, 2), { datatype: "INT64", shape: [], data: BigInt64Array.of(2n) }] },
    { op: "Gather", inputs: [x(5, 2), { datatype: "INT64", shape: [2, 1], data: BigInt64Array.of(2n, 0n) }] },
    { op: "Pad", inputs: [x("batch", 3), ints(0, 1, 0, 2), scalar(0)] },
    { op: "Pad", inputs: [x(4, 3), ints(-1, 0, 2, 1)] },
    { op: "Pad", inputs: [x("batch", 3, 4), ints(1, 2), undefined, ints(-2)] },
    {
      op: "Resize",
      inputs: [x("batch", 3, 4, 5), undefined, fixed(1, 1, 2, 3)],
      attributes: { mode: "nearest" },
    },
    { op: "Resize", inputs: [x(2, 3, 5), undefined, fixed(1, 2, 0.5)], attributes: { mode: "linear" } },
    { op: "Resize", inputs: [x(1, 2, 3, 5), undefined, undefined, ints(1, 2, 6, 4)] },
    {
      op: "Resize",
      inputs: [x("batch", 3, 5, 2), undefined, undefined, ints(7, 4)],
      attributes: { mode: "linear", axes: [1, 2] },
    },
    { op: "Reshape", inputs: [x("batch", 3, 4), ints(-1, 4)] },
    { op: "Reshape", inputs: [x("batch", 3, 4), ints(-1)] },
    { op: "ScatterElements", inputs: [x(5), ints(0, 2), x(2)], attributes: { axis: 0, reduction: "add" } },
    {
      op: "MaxUnpool",
      inputs: [
        x(1, 1, 2, 2),
        { datatype: "INT64", shape: [1, 1, 2, 2], data: BigInt64Array.of(0n, 3n, 9n, 11n) },
        ints(1, 1, 5, 4),
      ],
      attributes: { kernel_shape: [2, 2], strides: [2, 2] },
    },
  ];
  for (const axis of [0, 1, -1])
    cases.push({
      op: "OneHot",
      inputs: [typed("INT64", 3), ints(4), { datatype: "FP32", shape: [2], data: Float32Array.of(0, 1) }],
      attributes: { axis },
    });
  for (let i = 0; i < 60; i++) {
    const size = draw(1, 6);
    const step = [1, 1, 2, 3, -1, -2][draw(0, 5)]!;
    cases.push({
      op: "Slice",
      inputs: [x("batch", size), ints(draw(-8, 8)), ints(draw(-8, 8)), ints(1), ints(step)],
    });
  }
  cases.push({ op: "Slice", inputs: [x(4, 5), ints(1, -2), ints(3, 100)] });
  cases.push({
    op: "Slice",
    inputs: [x(4), ints(0), { datatype: "INT64", shape: [1], data: BigInt64Array.of(2n ** 63n - 1n) }],
  });
  return cases;
}

function normalisation(): Case[] {
  const four = [x(3), x(3), x(3), x(3)];
  return [
    { op: "BatchNormalization", inputs: [x("batch", 3, 4, 4), ...four] },
    { op: "BatchNormalization", inputs: [x("batch", 3), ...four], attributes: { epsilon: float(0.01) } },
    { op: "LayerNormalization", inputs: [x("batch", 2, 3), x(3), x(3)] },
    { op: "LayerNormalization", inputs: [x("batch", 2, 3), x(2, 3)], attributes: { axis: 1 }, outputs: 3 },
  ];
}

function recurrence(): Case[] {
  const cases: Case[] = [];
  const [steps, inputs, units] = [3, 2, 4];
  for (const batch of [2, "batch"])
    for (const [op, gates, states] of [
      ["RNN", 1, 1],
      ["GRU", 3, 1],
      ["LSTM", 4, 2],
    ] as const) {
      for (const direction of ["forward", "reverse", "bidirectional"]) {
        const d = direction === "bidirectional" ? 2 : 1;
        const state = Array.from({ length: states }, () => x(d, batch, units));
        const weights = [x(d, gates * units, inputs), x(d, gates * units, units)];
        const attributes = { direction, hidden_size: units };
        cases.push({ op, inputs: [x(steps, batch, inputs), ...weights], attributes, outputs: 1 + states });
        cases.push({
          op,
          inputs: [x(steps, batch, inputs), ...weights, x(d, 2 * gates * units), undefined, ...state],
          attributes,
          outputs: 1 + states,
        });
      }
      for (const reverse of [0, 1])
        for (const mask of [undefined, typed("BOOL", steps, batch, 1)])
          for (const keep of [undefined, x(batch, gates * units)])
            cases.push({
              op: `${op[0]}${op.slice(1).toLowerCase()}Sequence`.replace("Lstms", "LstmS"),
              inputs: [
                x(steps, batch, gates * units),
                x(units, gates * units),
                mask,
                keep,
                x(batch, units),
                op === "LSTM" ? x(batch, units) : op === "GRU" ? x(units) : undefined,
              ],
              attributes: { activations: ["sigmoid", "tanh"], reverse, reset_after: mask ? 0 : 1 },
              outputs: { RNN: 2, GRU: 6, LSTM: 9 }[op],
            });
    }
  for (const reverse of [0, 1])
    cases.push({
      op: "CumSum",
      inputs: [x(3, "batch", 1), { datatype: "INT64", shape: [], data: BigInt64Array.of(0n) }],
      attributes: { reverse },
    });
  const body = new GraphBuilder("body");
  const [state, slice] = [body.input("state", "FP32", [2]), body.input("slice", "FP32", [3, 2])];
  const sum = body.op("Add", [state, body.op("ReduceSum", [slice, body.ints([0])], { keepdims: 0 })]);
  body.output(sum, "next");
  body.output(body.op("Mul", [slice, state]), "scaled");
  cases.push({
    op: "Scan",
    inputs: [x(2), x(5, 3, 2)],
    attributes: { body: body.build(), num_scan_inputs: 1 },
    outputs: 2,
  });
  return cases;
}

const CASES = [
  ...elementwise(),
  ...folding(),
  ...linear(),
  ...windows(),
  ...structure(),
  ...normalisation(),
  ...recurrence(),
];

const isConstant = (input: Input): input is TensorLiteral => input !== undefined && "data" in input;
const sized = (shape: readonly Dim[], batch: number) =>
  shape.map((dim) => (typeof dim === "string" ? batch * Number(/^\d+/.exec(dim)?.[0] ?? 1) : dim));

function values(datatype: Datatype, shape: number[]): NumericArray {
  const drawn = normals("value", shape);
  if (datatype === "BOOL") return Uint8Array.from(drawn, (v) => (v > 0 ? 1 : 0));
  if (datatype === "INT64")
    return BigInt64Array.from({ length: elementCount(shape) }, (_, i) => BigInt(i % 3));
  return drawn.map((v) => Math.abs(v) + 0.5);
}

/** What is inferred and what comes out, for both batch sizes; the file leaves the output's shape open. */
async function faults(given: Case): Promise<string[]> {
  const graph = new GraphBuilder("case");
  const fed: { name: string; shape: Dim[]; datatype: Datatype }[] = [];
  const inputs = given.inputs.map((input, i) => {
    if (input === undefined) return undefined;
    if (isConstant(input)) return graph.initializer(`c${i}`, input);
    const datatype = input.datatype ?? "FP32";
    fed.push({ name: `x${i}`, shape: input.shape, datatype });
    return graph.input(`x${i}`, datatype, input.shape);
  });
  while (inputs.at(-1) === undefined) inputs.pop();
  const inferred = graph.ops(given.op, inputs, given.outputs ?? 1, given.attributes);
  for (const [i, value] of inferred.entries()) graph.output(value, `y${i}`);
  const built = lowered(graph);
  // Names of sizes instead of sizes: the runtime would only warn, and must not learn the answer from us.
  for (const output of built.outputs) output.shape = output.shape.map((_, axis) => `${output.name}_${axis}`);
  const describe = `${given.op} ${JSON.stringify(given.inputs.map((input) => input && (isConstant(input) ? [...input.data].map(Number) : input.shape)))} ${JSON.stringify(given.attributes ?? {})}`;
  const loaded = await LoadedGraph.load(built);
  const found: string[] = [];
  for (const batch of fed.some(({ shape }) => shape.includes("batch")) ? [2, 3] : [2]) {
    const results = await loaded.run(
      Object.fromEntries(
        fed.map(({ name, shape, datatype }) => {
          const fixed = sized(shape, batch);
          return [name, { shape: fixed, datatype, data: values(datatype, fixed) }];
        }),
      ),
    );
    for (const [i, value] of inferred.entries()) {
      const { shape, datatype } = results[`y${i}`]!;
      const expected = `${value.datatype}[${sized(value.shape, batch)}]`;
      const received = `${datatype}[${shape}]`;
      if (received !== expected)
        found.push(`${describe} output ${i}: inferred ${expected}, runs to ${received}`);
    }
  }
  await loaded.release();
  return found;
}

describe("shape rules against ONNX Runtime", () => {
  test("every operator of the table is among the cases", () => {
    const covered = new Set(CASES.map(({ op }) => op));
    expect(Object.keys(OPERATORS).filter((op) => !covered.has(op))).toEqual([]);
  });

  for (const op of new Set(CASES.map((given) => given.op)))
    test(`${op} is inferred as it runs`, async () => {
      const found: string[] = [];
      for (const given of CASES.filter((other) => other.op === op)) found.push(...(await faults(given)));
      expect(found).toEqual([]);
    });
});

describe("shape rules refuse", () => {
  const refusals: [string, string, Case][] = [
    [
      "shapes that do not broadcast",
      "shapes [2,3] and [2,4] do not broadcast",
      { op: "Add", inputs: [x(2, 3), x(2, 4)] },
    ],
    ["two named sizes that may differ", "do not broadcast", { op: "Mul", inputs: [x("batch"), x("rows")] }],
    ["types that differ", "types FP32 and INT64 differ", { op: "Add", inputs: [x(2), typed("INT64", 2)] }],
    ["matrices that do not fit", "inner sizes 3 and 4 differ", { op: "Gemm", inputs: [x(2, 3), x(4, 5)] }],
    ["an addend that does not fit", "does not broadcast", { op: "Gemm", inputs: [x(2, 3), x(3, 5), x(4)] }],
    [
      "channels that do not fit",
      "does not fit weights",
      { op: "Conv", inputs: [x(1, 3, 5, 5), x(2, 2, 3, 3)] },
    ],
    [
      "a window larger than the image",
      "window of 5 does not fit size 3",
      { op: "MaxPool", inputs: [x(1, 1, 3, 3)], attributes: { kernel_shape: [5, 5] } },
    ],
    [
      "a named spatial size",
      "spatial size 'height' must be known",
      { op: "MaxPool", inputs: [x(1, 1, "height", 3)], attributes: { kernel_shape: [1, 1] } },
    ],
    [
      "auto_pad",
      "auto_pad is not supported",
      { op: "Conv", inputs: [x(1, 1, 5, 5), x(1, 1, 3, 3)], attributes: { auto_pad: "SAME_UPPER" } },
    ],
    [
      "ceil_mode where standard and runtime differ",
      "ceil_mode adds a window",
      {
        op: "MaxPool",
        inputs: [x(1, 1, 5, 5)],
        attributes: { kernel_shape: [1, 1], strides: [3, 3], ceil_mode: 1 },
      },
    ],
    [
      "a reshape that loses elements",
      "[2,3] cannot become [4]",
      { op: "Reshape", inputs: [x(2, 3), ints(4)] },
    ],
    ["a reshape that hides the batch", "cannot become", { op: "Reshape", inputs: [x("batch", 3), ints(3)] }],
    [
      "a false permutation",
      "is no permutation",
      { op: "Transpose", inputs: [x(2, 3)], attributes: { perm: [0, 0] } },
    ],
    [
      "an axis out of range",
      "axis 2 is out of range for rank 2",
      { op: "ArgMax", inputs: [x(2, 3)], attributes: { axis: 2 } },
    ],
    ["more than there is", "4 elements of 3", { op: "TopK", inputs: [x(2, 3), ints(4)], outputs: 2 }],
    [
      "sizes of other axes",
      "1 sizes for 2 axes",
      { op: "Resize", inputs: [x(2, 3), undefined, undefined, ints(4)] },
    ],
    ["parts that do not add up", "do not make up 5", { op: "Split", inputs: [x(5), ints(2, 2)], outputs: 2 }],
    ["squeezing a size of 3", "is not of size 1", { op: "Squeeze", inputs: [x(2, 3), ints(1)] }],
    ["too few pads", "2 pads given, 4 needed", { op: "Pad", inputs: [x(2, 3), ints(1, 1)] }],
    [
      "labels that do not fit",
      "do not fit scores",
      { op: "SoftmaxCrossEntropyLoss", inputs: [x(4, 3), typed("INT64", 5)] },
    ],
    [
      "a shape that is not constant",
      "input 1 must be constant",
      { op: "Reshape", inputs: [x(2, 3), typed("INT64", 1)] },
    ],
    ["a missing input", "input 1 is missing", { op: "Gemm", inputs: [x(2, 3)] }],
    [
      "more outputs than there are",
      "gives 1 output(s) here, 2 were asked for",
      { op: "Relu", inputs: [x(2, 3)], outputs: 2 },
    ],
    [
      "a scale of another size than what is normalised",
      "parameter 1 [2] does not fit [3]",
      { op: "LayerNormalization", inputs: [x(2, 3), x(2)] },
    ],
    [
      "recurrent weights of another size than the gates",
      "W must be [1,8,3], not [1,6,3]",
      { op: "LSTM", inputs: [x(5, 2, 3), x(1, 6, 3), x(1, 8, 2)], attributes: { hidden_size: 2 } },
    ],
    [
      "a mask that does not fit the steps",
      "input 2 must be [5,2,1], not [2,5,1]",
      { op: "RnnSequence", inputs: [x(5, 2, 3), x(3, 3), typed("BOOL", 2, 5, 1), undefined, x(2, 3)] },
    ],
    [
      "an LSTM without its second state",
      "an initial state is missing",
      { op: "LstmSequence", inputs: [x(5, 2, 4), x(1, 4), undefined, undefined, x(2, 1)] },
    ],
    ["a Scan without a body", "it has no body", { op: "Scan", inputs: [x(2), x(5, 2)] }],
    ["an unknown operator", "operator 'Teleport' has no shape rule", { op: "Teleport", inputs: [x(2)] }],
    [
      "a member of Object as operator",
      "operator 'toString' has no shape rule",
      { op: "toString", inputs: [x(2)] },
    ],
    [
      "an attribute of the wrong kind",
      "attribute 'axis' must be an integer",
      { op: "Flatten", inputs: [x(2, 2)], attributes: { axis: float(1) } },
    ],
  ];
  for (const [title, message, given] of refusals)
    test(title, () => {
      const graph = new GraphBuilder("case");
      const inputs = given.inputs.map((input, i) =>
        input === undefined
          ? undefined
          : isConstant(input)
            ? graph.initializer(`c${i}`, input)
            : graph.input(`x${i}`, input.datatype ?? "FP32", input.shape),
      );
      expect(() => graph.ops(given.op, inputs, given.outputs ?? 1, given.attributes)).toThrow(message);
    });
});
