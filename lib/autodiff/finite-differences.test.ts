/**
 * Every gradient rule against central differences, the definition of a derivative.
 *
 * The loss is Σ c·f(x) with fixed random c, so every output element counts. With step h the difference is wrong by
 * h²·f'''/6 (about 4e-5 at h = 2^-6 for functions of unit scale) and by rounding: f comes in float32, ε·|f|/h
 * is about 4e-6 per touched output, and the outputs are summed in double. 2e-3·(1 + |g|) is a good ten times both;
 * a wrong rule is off by the size of the gradient itself. h is a power of two, so x ± h rounds almost nothing.
 * Functions with kinks get values that stay more than h away from them.
 */

import { distinct, LoadedGraph, lowered, normals, worstError } from "../../test/support/graph-runner.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { GATE_ACTIVATIONS } from "../onnx/gate-activations.ts";
import { type Attributes, float, type TensorLiteral } from "../onnx/graph.ts";
import { RandomStream } from "../random/stream.ts";
import { elementCount } from "../tensor/tensor.ts";
import { gradients } from "./backward.ts";
import { GRADIENTS } from "./gradients/table.ts";

const STEP = 2 ** -6;
const TOLERANCE = 2e-3;

type Kind = "normal" | "small" | "positive" | "off zero" | "distinct";
type Trained = { shape: number[]; kind?: Kind };
type Case = {
  op: string;
  title: string;
  /** A trained input, a constant, or nothing. */
  inputs: (Trained | TensorLiteral | undefined)[];
  attributes?: Attributes;
  outputs?: number;
};

const x = (shape: number[], kind: Kind = "normal"): Trained => ({ shape, kind });
const ints = (...values: number[]): TensorLiteral => ({
  datatype: "INT64",
  shape: [values.length],
  data: BigInt64Array.from(values, BigInt),
});
const fixed = (shape: number[], data: number[]): TensorLiteral => ({
  datatype: "FP32",
  shape,
  data: Float32Array.from(data),
});
const bools = (shape: number[]): TensorLiteral => ({
  datatype: "BOOL",
  shape,
  data: Uint8Array.from({ length: elementCount(shape) }, (_, i) => ((i * 7) % 3 === 0 ? 1 : 0)),
});
const isConstant = (input: Trained | TensorLiteral): input is TensorLiteral => "data" in input;

function valuesOf(name: string, { shape, kind = "normal" }: Trained): Float32Array {
  // Four steps apart: no two swap rank when one is moved by a step.
  if (kind === "distinct") return distinct(name, shape, 4 * STEP);
  const drawn = normals(name, shape);
  if (kind === "small") return drawn.map((v) => 0.3 * v);
  if (kind === "positive") return drawn.map((v) => 0.5 + Math.abs(v));
  if (kind === "off zero") return drawn.map((v) => v + Math.sign(v) * 4 * STEP);
  return drawn;
}

const BROADCASTS: [number[], number[]][] = [
  [
    [3, 4],
    [3, 4],
  ],
  [[3, 4], [4]],
  [[4], [2, 3, 4]],
  [
    [3, 1],
    [1, 4],
  ],
  [
    [2, 3, 4],
    [3, 1],
  ],
  [[1], [2, 2]],
  [[2, 3], []],
  [
    [1, 1, 4],
    [2, 1, 1],
  ],
];

function elementwise(): Case[] {
  const cases: Case[] = [];
  for (const [a, b] of BROADCASTS) {
    const title = `[${a}] and [${b}]`;
    for (const op of ["Add", "Sub", "Mul"]) cases.push({ op, title, inputs: [x(a), x(b)] });
    cases.push({ op: "Div", title, inputs: [x(a), x(b, "positive")] });
    cases.push({
      op: "Where",
      title,
      inputs: [
        bools(
          [3, 4]
            .slice(-Math.min(2, Math.max(a.length, b.length)))
            .map((_, i, all) => broadcastSize(a, b, all.length - i)),
        ),
        x(a),
        x(b),
      ],
    });
  }
  cases.push({ op: "Sum", title: "three of different shapes", inputs: [x([2, 3]), x([3]), x([2, 1])] });
  cases.push({ op: "Max", title: "with zero", inputs: [x([2, 3], "off zero"), fixed([3], [0, 0, 0])] });
  for (const op of ["Max", "Min"])
    cases.push({
      op,
      title: "of zero, spread",
      inputs: [fixed([2, 3], [0, 0, 0, 0, 0, 0]), x([3], "off zero")],
    });
  cases.push({ op: "Min", title: "with zero", inputs: [x([2, 3], "off zero"), fixed([3], [0, 0, 0])] });
  cases.push({ op: "Pow", title: "cube", inputs: [x([2, 3]), fixed([], [3])] });
  cases.push({ op: "Pow", title: "square of a row", inputs: [x([3]), fixed([2, 3], [2, 1, 2, 2, 3, 2])] });
  cases.push({ op: "Pow", title: "root", inputs: [x([5], "positive"), fixed([1], [0.5])] });
  const unary: [string, Kind][] = [
    ["Identity", "normal"],
    ["Neg", "normal"],
    ["Exp", "normal"],
    ["Tanh", "normal"],
    ["Sigmoid", "normal"],
    ["Softplus", "normal"],
    ["Log", "positive"],
    ["Sqrt", "positive"],
    ["Reciprocal", "positive"],
    ["Relu", "off zero"],
    ["Abs", "off zero"],
    ["Erf", "normal"],
    ["Softsign", "off zero"],
    ["Selu", "off zero"],
    ["Elu", "off zero"],
    ["LeakyRelu", "off zero"],
  ];
  for (const [op, kind] of unary)
    for (const shape of [[5], [2, 3], []]) cases.push({ op, title: `[${shape}]`, inputs: [x(shape, kind)] });
  const coarse = x([40], "distinct");
  cases.push(
    { op: "LeakyRelu", title: "steep", inputs: [x([12], "off zero")], attributes: { alpha: float(1.5) } },
    { op: "Elu", title: "alpha 0.4", inputs: [x([12], "off zero")], attributes: { alpha: float(0.4) } },
    { op: "HardSigmoid", title: "as ONNX has it", inputs: [x([3, 4])] },
    {
      op: "HardSigmoid",
      title: "steep",
      inputs: [coarse],
      attributes: { alpha: float(2), beta: float(0.25) },
    },
    { op: "Clip", title: "both bounds", inputs: [coarse, fixed([], [-0.5]), fixed([], [0.75])] },
    { op: "Clip", title: "from below", inputs: [coarse, fixed([], [-0.5])] },
    { op: "Clip", title: "from above", inputs: [coarse, undefined, fixed([], [0.75])] },
    { op: "Clip", title: "no bounds", inputs: [coarse] },
    { op: "PRelu", title: "a slope for each", inputs: [x([3, 4], "off zero"), x([3, 4])] },
    { op: "PRelu", title: "a slope for a row", inputs: [x([3, 4], "off zero"), x([4])] },
    { op: "PRelu", title: "shared slopes", inputs: [x([2, 3, 4], "off zero"), x([3, 1])] },
    { op: "PRelu", title: "fixed slopes", inputs: [x([2, 3], "off zero"), fixed([3], [0.1, 0, 2])] },
  );
  for (const op of ["Softmax", "LogSoftmax"])
    for (const [shape, axis] of [
      [[3, 4], -1],
      [[3, 4], 0],
      [[2, 3, 4], 1],
      [[5], 0],
      [[2, 1], 1],
    ] as const)
      cases.push({ op, title: `[${shape}] along ${axis}`, inputs: [x([...shape])], attributes: { axis } });
  return cases;
}

/** Size of the broadcast result at `fromEnd` places from the end. */
function broadcastSize(a: number[], b: number[], fromEnd: number): number {
  return Math.max(a.at(-fromEnd) ?? 1, b.at(-fromEnd) ?? 1);
}

function linear(): Case[] {
  const cases: Case[] = [];
  for (const transA of [0, 1])
    for (const transB of [0, 1])
      for (const addend of [undefined, [5], [3, 5], [3, 1], []])
        cases.push({
          op: "Gemm",
          title: `A${transA ? "ᵀ" : ""}·B${transB ? "ᵀ" : ""} + ${addend ? `[${addend}]` : "nothing"}`,
          inputs: [x(transA ? [4, 3] : [3, 4]), x(transB ? [5, 4] : [4, 5]), addend && x(addend)],
          attributes: { transA, transB },
        });
  for (const [a, b] of [
    [
      [3, 4],
      [4, 2],
    ],
    [
      [2, 3, 4],
      [4, 2],
    ],
    [
      [2, 3, 4],
      [2, 4, 2],
    ],
    [
      [2, 1, 3, 4],
      [3, 4, 2],
    ],
    [
      [3, 4],
      [2, 4, 2],
    ],
    [
      [2, 3, 2, 4],
      [4, 3],
    ],
  ] as [number[], number[]][])
    cases.push({ op: "MatMul", title: `[${a}] by [${b}]`, inputs: [x(a), x(b)] });
  for (const [shape, axis] of [
    [[3, 4], -1],
    [[2, 3, 5], -1],
    [[2, 3, 2], 1],
  ] as const)
    for (const bias of [true, false]) {
      const part = shape.slice(axis);
      cases.push({
        op: "LayerNormalization",
        title: `[${shape}] from axis ${axis}${bias ? ", with a bias" : ""}`,
        inputs: [x([...shape]), x([...part]), bias ? x([...part]) : undefined],
        attributes: { axis, epsilon: float(0.25) },
      });
    }
  cases.push({
    op: "LayerNormalization",
    title: "fixed scale and bias",
    inputs: [x([3, 4]), fixed([4], [1, 2, 0, -1]), fixed([4], [0, 1, 0, 2])],
    attributes: { epsilon: float(0.25) },
  });
  return cases;
}

function folding(): Case[] {
  const cases: Case[] = [];
  for (const op of ["ReduceSum", "ReduceMean", "ReduceMax"])
    for (const keepdims of [0, 1])
      for (const axes of [[0], [1, 2], [-1], [0, -2], undefined, []])
        cases.push({
          op,
          title: `axes ${axes ? `[${axes}]` : "left out"}, keepdims ${keepdims}`,
          inputs: [x([2, 3, 4], op === "ReduceMax" ? "distinct" : "normal"), axes && ints(...axes)],
          attributes: { keepdims },
        });
  cases.push({
    op: "ReduceSum",
    title: "no axes, noop_with_empty_axes",
    inputs: [x([2, 3])],
    attributes: { noop_with_empty_axes: 1 },
  });
  for (const reduction of ["mean", "sum", "none"])
    for (const [rows, classes] of [
      [4, 3],
      [1, 5],
      [3, 1],
    ] as const)
      cases.push({
        op: "SoftmaxCrossEntropyLoss",
        title: `${reduction} over [${rows},${classes}]`,
        inputs: [x([rows, classes]), ints(...Array.from({ length: rows }, (_, i) => (i * 2) % classes))],
        attributes: { reduction },
      });
  return cases;
}

function moving(): Case[] {
  const shape = [2, 3, 4];
  return [
    { op: "Reshape", title: "to a matrix", inputs: [x(shape), ints(0, -1)] },
    { op: "Flatten", title: "axis 2", inputs: [x(shape)], attributes: { axis: 2 } },
    { op: "Squeeze", title: "two axes", inputs: [x([1, 3, 1, 2]), ints(0, -2)] },
    { op: "Unsqueeze", title: "two axes", inputs: [x([3, 2]), ints(0, -1)] },
    { op: "Transpose", title: "a rotation", inputs: [x(shape)], attributes: { perm: [2, 0, 1] } },
    { op: "Transpose", title: "reversed by default", inputs: [x(shape)] },
    {
      op: "Concat",
      title: "three along the middle",
      inputs: [x([2, 1, 3]), x([2, 3, 3]), x([2, 2, 3])],
      attributes: { axis: 1 },
    },
    {
      op: "Concat",
      title: "one fixed part",
      inputs: [x([2, 2]), fixed([2, 1], [1, 2]), x([2, 3])],
      attributes: { axis: -1 },
    },
    {
      op: "Split",
      title: "sizes given",
      inputs: [x([2, 6]), ints(1, 3, 2)],
      attributes: { axis: 1 },
      outputs: 3,
    },
    {
      op: "Split",
      title: "a smaller last part",
      inputs: [x([5, 2])],
      attributes: { num_outputs: 2 },
      outputs: 2,
    },
    { op: "Expand", title: "ahead and inside", inputs: [x([3, 1]), ints(2, 3, 4)] },
    { op: "Expand", title: "to a smaller target", inputs: [x([3, 4]), ints(3, 1)] },
    { op: "Slice", title: "the middle of two axes", inputs: [x([4, 5]), ints(1, 2), ints(3, 4)] },
    {
      op: "Slice",
      title: "counted from the end, beyond the end",
      inputs: [x([4, 5]), ints(-3), ints(1000), ints(-1)],
    },
    { op: "Pad", title: "of two axes", inputs: [x([2, 3]), ints(1, 0, 2, 1), fixed([], [0.5])] },
    { op: "Pad", title: "that cuts and adds", inputs: [x([4, 3]), ints(-1, 2, 2, -1)] },
    { op: "Pad", title: "of named axes", inputs: [x([2, 3, 2]), ints(1, 2), undefined, ints(1)] },
    { op: "Gather", title: "rows, some more than once", inputs: [x([5, 3]), ints(1, 4, 1, 1, -1, 0)] },
    {
      op: "Gather",
      title: "rows of a matrix of ids",
      inputs: [x([4, 2, 3]), { ...ints(0, 3, 3, 1, 0, 3), shape: [3, 2] }],
    },
    { op: "Slice", title: "turned about", inputs: [x([4, 3]), ints(-1), ints(-5), ints(0), ints(-1)] },
    {
      op: "Slice",
      title: "part of one axis turned about, of another not",
      inputs: [x([5, 4]), ints(3, 1), ints(0, 3), ints(0, 1), ints(-1, 1)],
    },
    { op: "Slice", title: "begins before the start", inputs: [x([4, 5]), ints(-100), ints(2), ints(0)] },
  ];
}

function windows(): Case[] {
  const random = RandomStream.named(11, "windows");
  const draw = (low: number, high: number) => low + random.below(high - low + 1);
  const cases: Case[] = [];
  for (let i = 0; i < 24; i++) {
    const kernel = [draw(1, 3), draw(1, 3)];
    const strides = [draw(1, 3), draw(1, 3)];
    const dilations = [draw(1, 2), draw(1, 2)];
    const pads = [draw(0, 2), draw(0, 1), draw(0, 1), draw(0, 2)];
    const size = [0, 1].map((axis) => dilations[axis]! * (kernel[axis]! - 1) + 1 + draw(0, 3));
    const [batch, depth, filters] = [draw(1, 2), draw(1, 3), draw(1, 3)];
    const shapes = [
      x([batch, depth, ...size]),
      x([filters, depth, ...kernel]),
      i % 2 ? x([filters]) : undefined,
    ];
    // The same convolution with its channels before the batch.
    cases.push({
      op: "ColumnConv",
      title: `image [${size}] kernel [${kernel}] strides [${strides}] dilations [${dilations}] pads [${pads}]`,
      inputs: [x([depth, batch, ...size]), ...shapes.slice(1)],
      attributes: { kernel_shape: kernel, strides, dilations, pads },
    });
    cases.push({
      op: "Conv",
      title: `image [${size}] kernel [${kernel}] strides [${strides}] dilations [${dilations}] pads [${pads}]`,
      inputs: shapes,
      attributes: { kernel_shape: kernel, strides, dilations, pads },
    });
  }
  // Groups: several channels and filters in each, one channel with one filter, one channel with several.
  for (let i = 0; i < 24; i++) {
    const kernel = [draw(1, 3), draw(1, 3)];
    const strides = i % 2 ? [1, 1] : [draw(1, 3), draw(1, 3)];
    const dilations = [draw(1, 2), draw(1, 2)];
    const pads = [draw(0, 2), draw(0, 1), draw(0, 1), draw(0, 2)];
    const size = [0, 1].map((axis) => dilations[axis]! * (kernel[axis]! - 1) + 1 + draw(0, 3));
    const group = draw(2, 3);
    const [depth, each] = [[2, 2] as const, [1, 1] as const, [1, 2] as const][i % 3]!;
    const batch = draw(1, 2);
    const title = `${group} groups image [${size}] kernel [${kernel}] strides [${strides}] dilations [${dilations}] pads [${pads}]`;
    const rest = [x([group * each, depth, ...kernel]), i % 2 ? x([group * each]) : undefined];
    const attributes = { kernel_shape: kernel, strides, dilations, pads, group };
    const channels = depth * group;
    cases.push({ op: "ColumnConv", title, inputs: [x([channels, batch, ...size]), ...rest], attributes });
    cases.push({ op: "Conv", title, inputs: [x([batch, channels, ...size]), ...rest], attributes });
  }
  for (let i = 0; i < 24; i++) {
    const kernel = [draw(1, 3), draw(1, 3)];
    const strides = [draw(1, 3), draw(1, 3)];
    const dilations = i % 3 === 2 ? [2, draw(1, 2)] : [1, 1];
    const pads = [0, 1, 0, 1].map((axis) => Math.min(draw(0, 1), kernel[axis]! - 1));
    const output_padding = strides.map((stride) => draw(0, stride - 1));
    const [batch, depth, filters, group] = [draw(1, 2), draw(1, 2), draw(1, 2), i % 4 === 1 ? 2 : 1];
    cases.push({
      op: "ConvTranspose",
      title: `${group} groups kernel [${kernel}] strides [${strides}] dilations [${dilations}] pads [${pads}] more [${output_padding}]`,
      inputs: [
        x([batch, depth * group, draw(2, 3), draw(1, 3)]),
        x([depth * group, filters, ...kernel]),
        i % 2 ? x([filters * group]) : undefined,
      ],
      attributes: { kernel_shape: kernel, strides, dilations, pads, output_padding, group },
    });
  }
  for (let i = 0; i < 24; i++) {
    const kernel = [draw(1, 3), draw(1, 3)];
    const dilations = i % 4 === 3 ? [2, draw(1, 2)] : [1, 1];
    const strides = i % 3 === 0 ? [...kernel] : [draw(1, 3), draw(1, 3)];
    // ONNX wants pads smaller than the kernel.
    const pads =
      i % 2 === 0 ? [0, 0, 0, 0] : [0, 1, 0, 1].map((axis) => Math.min(draw(0, 1), kernel[axis]! - 1));
    const size = [0, 1].map((axis) => dilations[axis]! * (kernel[axis]! - 1) + 1 + draw(0, 4));
    cases.push({
      op: "MaxPool",
      title: `image [${size}] kernel [${kernel}] strides [${strides}] dilations [${dilations}] pads [${pads}]`,
      inputs: [x([draw(1, 2), draw(1, 2), ...size], "distinct")],
      // Rounded up, a last window may only hang over the end when it begins inside: kernels as large as strides.
      attributes: {
        kernel_shape: kernel,
        strides: i % 5 === 4 ? kernel : strides,
        dilations,
        pads,
        ceil_mode: i % 5 === 4 ? 1 : 0,
      },
    });
  }
  for (let i = 0; i < 24; i++) {
    const spatial = i % 3 === 2 ? 1 : 2;
    const all = <T>(make: () => T): T[] => Array.from({ length: spatial }, make);
    const kernel = all(() => draw(1, 3));
    const strides = i % 4 === 0 ? [...kernel] : all(() => draw(1, 3));
    const pads =
      i % 2 === 0 || i % 5 === 4 ? [] : [...kernel, ...kernel].map((size) => Math.min(draw(0, 1), size - 1));
    const size = kernel.map((side) => (i % 4 === 0 ? side * draw(1, 3) : side + draw(0, 4)));
    const over = i % 5 === 4 ? { strides: kernel, ceil_mode: 1 } : {};
    cases.push({
      op: "AveragePool",
      title: `image [${size}] kernel [${kernel}] strides [${strides}] pads [${pads}]${i % 5 === 4 ? " rounded up" : ""}`,
      inputs: [x([draw(1, 2), draw(1, 2), ...size])],
      attributes: {
        kernel_shape: kernel,
        strides,
        ...(pads.length > 0 && { pads }),
        ...over,
        ...(i % 5 === 3 && { count_include_pad: 1 }),
      },
    });
  }
  // Larger than what is differentiated by matrices.
  for (const [size, kernel, strides, more] of [
    [[300], [3], [2], {}],
    [[259], [4], [3], { pads: [2, 1] }],
    [[258], [5], [5], { ceil_mode: 1 }],
    [[258], [2], [4], { pads: [1, 1], count_include_pad: 1 }],
    [[2, 261], [2, 3], [1, 2], { pads: [0, 1, 1, 1] }],
    [[257, 2], [3, 1], [4, 1], {}],
  ] as [number[], number[], number[], Attributes][])
    cases.push({
      op: "AveragePool",
      title: `image [${size}] kernel [${kernel}] strides [${strides}] ${JSON.stringify(more)}`,
      inputs: [x([1, 2, ...size])],
      attributes: { kernel_shape: kernel, strides, ...more },
    });
  for (const factors of [[2, 2], [1, 3], [3]])
    cases.push({
      op: "Resize",
      title: `repeated [${factors}] times`,
      inputs: [
        x([2, 2, ...factors.map((_, i) => i + 2)]),
        undefined,
        fixed([factors.length + 2], [1, 1, ...factors]),
      ],
      attributes: {
        mode: "nearest",
        coordinate_transformation_mode: "asymmetric",
        nearest_mode: "floor",
      },
    });
  // Windows that look side by side by their strides but are not, and those that leave a rest.
  for (const [size, kernel, strides, dilations] of [
    [
      [6, 6],
      [2, 2],
      [2, 2],
      [2, 2],
    ],
    [
      [5, 7],
      [2, 2],
      [2, 2],
      [1, 1],
    ],
    [
      [4, 6],
      [2, 2],
      [2, 2],
      [1, 1],
    ],
    [
      [7, 8],
      [3, 3],
      [3, 3],
      [1, 1],
    ],
    [
      [7, 8],
      [2, 3],
      [3, 4],
      [1, 1],
    ],
    [
      [7, 7],
      [2, 3],
      [2, 3],
      [2, 1],
    ],
  ] as const)
    cases.push({
      op: "MaxPool",
      title: `image [${size}] kernel [${kernel}] strides [${strides}] dilations [${dilations}]`,
      inputs: [x([2, 2, ...size], "distinct")],
      attributes: { kernel_shape: [...kernel], strides: [...strides], dilations: [...dilations] },
    });
  return cases;
}

/** Every cell with each option: mask, dropped states, direction, bias, activations. */
function sequences(): Case[] {
  const [steps, batch, units] = [4, 2, 3];
  const keep = (size: number) =>
    fixed(
      [batch, size],
      Array.from({ length: batch * size }, (_, i) => [0, 1.25, 1.25, 1.25, 0, 1, 1.25][i % 7]!),
    );
  const cases: Case[] = [];
  for (const [op, gates, outputs] of [
    ["RnnSequence", 1, 2],
    ["GruSequence", 3, 2],
    ["LstmSequence", 4, 3],
  ] as const)
    for (const reverse of [0, 1])
      for (const masked of [false, true])
        for (const dropped of [false, true])
          for (const reset_after of op === "GruSequence" ? [0, 1] : [0])
            cases.push({
              op,
              title: `${masked ? "masked " : ""}${dropped ? "dropped " : ""}reverse ${reverse} reset_after ${reset_after}`,
              inputs: [
                x([steps, batch, gates * units]),
                x([units, gates * units], "small"),
                masked ? bools([steps, batch, 1]) : undefined,
                dropped ? keep(gates * units) : undefined,
                x([batch, units], "small"),
                op === "LstmSequence" ? x([batch, units], "small") : reset_after ? x([units]) : undefined,
              ],
              attributes: { activations: ["sigmoid", "tanh"], reverse, reset_after },
              outputs,
            });
  for (const activation of Object.keys(GATE_ACTIVATIONS).filter((name) => name !== "relu"))
    for (const [op, gates, activations] of [
      ["RnnSequence", 1, ["sigmoid", activation]],
      ["GruSequence", 3, [activation, "tanh"]],
      ["GruSequence", 3, ["sigmoid", activation]],
      ["LstmSequence", 4, [activation, "tanh"]],
      ["LstmSequence", 4, ["sigmoid", activation]],
    ] as const)
      cases.push({
        op,
        title: activations.join(" and "),
        inputs: [
          x([2, 1, gates * 2], "off zero"),
          x([2, gates * 2], "small"),
          undefined,
          undefined,
          x([1, 2], "small"),
          op === "LstmSequence" ? x([1, 2], "small") : undefined,
        ],
        attributes: { activations: [...activations], reset_after: 1 },
      });
  cases.push({
    op: "RnnSequence",
    title: "relu",
    inputs: [x([2, 2, 3], "off zero"), fixed([3, 3], new Array(9).fill(0)), undefined, undefined, x([2, 3])],
    attributes: { activations: ["sigmoid", "relu"] },
  });
  return cases;
}

type Built = { graph: GraphBuilder; feeds: Map<string, Trained>; outputs: Value[] };

/** The forward graph of a case: outputs y0, y1, … and inputs x0, x1, … */
function forward(given: Case): Built {
  const graph = new GraphBuilder("case");
  const feeds = new Map<string, Trained>();
  const inputs = given.inputs.map((input, i) => {
    if (input === undefined) return undefined;
    if (isConstant(input)) return graph.initializer(`c${i}`, input);
    feeds.set(`x${i}`, input);
    return graph.input(`x${i}`, "FP32", input.shape);
  });
  while (inputs.at(-1) === undefined) inputs.pop();
  return { graph, feeds, outputs: graph.ops(given.op, inputs, given.outputs ?? 1, given.attributes) };
}

/** Σ c·y for every output, with c drawn by its place. */
function appendLoss(graph: GraphBuilder, outputs: readonly Value[]): Value {
  const parts = outputs.map((y, i) => {
    const shape = y.shape as number[];
    const c = graph.initializer(`cotangent${i}`, { datatype: "FP32", shape, data: normals(`c${i}`, shape) });
    return graph.op("ReduceSum", [graph.op("Reshape", [graph.op("Mul", [y, c]), graph.ints([-1])])], {
      keepdims: 0,
    });
  });
  return parts.length === 1 ? parts[0]! : graph.op("Sum", parts);
}

/** Gradients by the rules under test, by input name. */
async function analytic(given: Case): Promise<Record<string, Float32Array>> {
  const { graph, feeds, outputs } = forward(given);
  const parameters = [...feeds.keys()].map((name) => graph.valueOf(name));
  const found = gradients(graph, appendLoss(graph, outputs), parameters);
  [...feeds.keys()].forEach((name, i) => {
    graph.output(found[i]!, `d${name}`);
  });
  const loaded = await LoadedGraph.load(lowered(graph));
  const results = await loaded.run(fed(feeds));
  await loaded.release();
  return Object.fromEntries(
    [...feeds.keys()].map((name) => [name, results[`d${name}`]!.data as Float32Array]),
  );
}

function fed(feeds: ReadonlyMap<string, Trained>) {
  return Object.fromEntries(
    [...feeds].map(([name, trained]) => [name, { shape: trained.shape, data: valuesOf(name, trained) }]),
  );
}

/** Gradients by central differences, by input name. */
async function numeric(given: Case): Promise<Record<string, Float64Array>> {
  const { graph, feeds, outputs } = forward(given);
  for (const [i, y] of outputs.entries()) graph.output(y, `y${i}`);
  const loaded = await LoadedGraph.load(lowered(graph));
  const values = fed(feeds);
  const found: Record<string, Float64Array> = {};
  const evaluate = async () => {
    const results = await loaded.run(values);
    return outputs.map((_, i) => results[`y${i}`]!);
  };
  for (const [name, { data }] of Object.entries(values)) {
    found[name] = new Float64Array(data.length);
    for (let i = 0; i < data.length; i++) {
      const kept = data[i]!;
      data[i] = kept + STEP;
      const above = data[i]!;
      const high = await evaluate();
      data[i] = kept - STEP;
      const width = above - data[i]!;
      const low = await evaluate();
      data[i] = kept;
      let change = 0;
      high.forEach(({ data: y, shape }, at) => {
        const c = normals(`c${at}`, shape);
        for (let j = 0; j < y.length; j++) change += c[j]! * (Number(y[j]) - Number(low[at]!.data[j]));
      });
      found[name][i] = change / width;
    }
  }
  await loaded.release();
  return found;
}

const CASES = [...elementwise(), ...linear(), ...folding(), ...moving(), ...windows(), ...sequences()];

describe("gradients against central differences", () => {
  test("every rule of the table is among the cases", () => {
    const covered = new Set(CASES.map(({ op }) => op));
    expect(Object.keys(GRADIENTS).filter((op) => !covered.has(op))).toEqual([]);
  });

  for (const op of new Set(CASES.map((given) => given.op)))
    test(`${op} agrees for every generated input`, async () => {
      const wrong: string[] = [];
      for (const given of CASES.filter((other) => other.op === op)) {
        const [received, expected] = [await analytic(given), await numeric(given)];
        for (const [name, values] of Object.entries(expected)) {
          const error = worstError(received[name]!, values);
          if (error > TOLERANCE) wrong.push(`${given.title}, input ${name}: off by ${error}`);
        }
      }
      expect(wrong).toEqual([]);
    });
});

describe("the walk back through a graph", () => {
  const vector = (graph: GraphBuilder, name: string) => graph.input(name, "FP32", [3]);
  const total = (graph: GraphBuilder, value: Value) => graph.op("ReduceSum", [value], { keepdims: 0 });
  const feeds = {
    a: { shape: [3], data: Float32Array.of(1, -2, 3) },
    b: { shape: [3], data: Float32Array.of(0.5, 4, -1) },
  };

  async function solve(build: (graph: GraphBuilder, a: Value, b: Value) => Value) {
    const graph = new GraphBuilder("walk");
    const [a, b] = [vector(graph, "a"), vector(graph, "b")];
    const [da, db] = gradients(graph, build(graph, a, b), [a, b]);
    graph.output(da!, "da");
    graph.output(db!, "db");
    const loaded = await LoadedGraph.load(lowered(graph));
    const found = await loaded.run(feeds);
    await loaded.release();
    return { da: [...(found.da!.data as Float32Array)], db: [...(found.db!.data as Float32Array)] };
  }

  test("adds up the ways through a value that is read several times", async () => {
    // a·a + a·b + a: da = 2a + b + 1, db = a
    const found = await solve((g, a, b) =>
      total(g, g.op("Sum", [g.op("Mul", [a, a]), g.op("Mul", [a, b]), a])),
    );
    expect(found).toEqual({ da: [3.5, 1, 6], db: [1, -2, 3] });
  });

  test("gives zeros for a parameter the loss does not depend on", async () => {
    const found = await solve((g, a) => total(g, g.op("Mul", [a, g.scalar(2)])));
    expect(found).toEqual({ da: [2, 2, 2], db: [0, 0, 0] });
  });

  test("leaves out branches that do not reach the loss", async () => {
    const found = await solve((g, a, b) => {
      g.op("Exp", [g.op("Mul", [a, b])]);
      return total(g, g.op("Sub", [a, b]));
    });
    expect(found).toEqual({ da: [1, 1, 1], db: [-1, -1, -1] });
  });

  test("gives one for the loss itself", async () => {
    const graph = new GraphBuilder("walk");
    const a = graph.input("a", "FP32", []);
    graph.output(gradients(graph, a, [a])[0]!, "da");
    const loaded = await LoadedGraph.load(lowered(graph));
    const found = await loaded.run({ a: { shape: [], data: Float32Array.of(5) } });
    expect([...(found.da!.data as Float32Array)]).toEqual([1]);
  });

  test("refuses a loss that is no scalar, an operator without a rule, and options no rule honours", () => {
    const refuse = (build: (graph: GraphBuilder, a: Value) => Value) => () => {
      const graph = new GraphBuilder("walk");
      const a = graph.input("a", "FP32", [3, 3]);
      gradients(graph, build(graph, a), [a]);
    };
    const sum = (g: GraphBuilder, y: Value) => g.op("ReduceSum", [y], { keepdims: 0 });
    expect(refuse((_, a) => a)).toThrow("the loss must be a scalar, not [3,3]");
    expect(refuse((g, a) => sum(g, g.op("Sin", [a])))).toThrow("operator 'Sin' has no gradient rule");
    expect(refuse((g, a) => sum(g, g.op("Gemm", [a, a], { alpha: float(2) })))).toThrow(
      "alpha and beta must be 1",
    );
    expect(refuse((g, a) => sum(g, g.op("Pow", [g.scalar(2), a])))).toThrow("the exponent cannot be trained");
    expect(
      refuse((g, a) => sum(g, g.op("Slice", [a, g.ints([0]), g.ints([3]), g.ints([0]), g.ints([2])]))),
    ).toThrow("only steps of 1 and -1 are differentiated");
    expect(
      refuse((g, a) => {
        const labels = g.initializer("labels", { datatype: "INT64", shape: [3], data: new BigInt64Array(3) });
        return g.op("SoftmaxCrossEntropyLoss", [a, labels], { ignore_index: 0 });
      }),
    ).toThrow("without weights or ignore_index");
  });

  test("refuses one-dimensional convolution", () => {
    const graph = new GraphBuilder("walk");
    const image = graph.input("image", "FP32", [1, 2, 5]);
    const weight = graph.input("weight", "FP32", [2, 2, 2]);
    const y = graph.op("Conv", [image, weight]);
    const loss = graph.op("ReduceSum", [y], { keepdims: 0 });
    expect(() => gradients(graph, loss, [weight])).toThrow("only two-dimensional convolution");
  });
});
