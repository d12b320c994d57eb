/** Operators that turn scores into decisions. */

import type { Attributes } from "../../onnx/graph.ts";
import {
  assertFloat,
  axisOf,
  FLAG,
  INTEGER,
  INTEGERS,
  isList,
  isNumber,
  type OperatorRule,
  unfit,
} from "./rule.ts";

const REDUCTIONS: Readonly<Record<string, string>> = {
  mean: "ReduceMean",
  sum: "ReduceSum",
  max: "ReduceMax",
  min: "ReduceMin",
};
const single = { inputs: [1, 1], outputs: 1 } as const;

const softmax: OperatorRule = {
  ...single,
  options: { axis: INTEGER },
  required: [],
  build(graph, [x], { axis = -1 }) {
    assertFloat(x!);
    return [graph.op("Softmax", [x!], { axis: axisOf(x!, axis as number) })];
  },
};

/** Where the largest element is, as INT64; the first of equal ones. */
const argMax: OperatorRule = {
  ...single,
  options: { axis: INTEGER, keepDims: FLAG },
  required: [],
  build: (graph, [x], { axis = -1, keepDims = false }) => [
    graph.op("ArgMax", [x!], { axis: axisOf(x!, axis as number), keepdims: keepDims ? 1 : 0 }),
  ],
};

/** The `k` largest elements, largest first, and where they are, as INT64. */
const topK: OperatorRule = {
  options: {
    k: {
      expected: "an integer from 1 to 100000",
      accepts: (k) => Number.isInteger(k) && (k as number) >= 1 && (k as number) <= 100_000,
    },
    axis: INTEGER,
  },
  required: ["k"],
  inputs: [1, 1],
  outputs: 2,
  build: (graph, [x], { k, axis = -1 }) =>
    graph.ops("TopK", [x!, graph.ints([k as number])], 2, { axis: axisOf(x!, axis as number) }),
};

const reduce: OperatorRule = {
  ...single,
  options: {
    with: {
      expected: `one of ${Object.keys(REDUCTIONS).join(", ")}`,
      accepts: (value) => Object.hasOwn(REDUCTIONS, String(value)),
    },
    axes: INTEGERS,
    keepDims: FLAG,
  },
  required: ["with", "axes"],
  build(graph, [x], { with: how, axes, keepDims = false }) {
    const attributes: Attributes = { keepdims: keepDims ? 1 : 0 };
    const at = (axes as number[]).map((axis) => axisOf(x!, axis));
    return [graph.op(REDUCTIONS[how as string]!, [x!, graph.ints(at)], attributes)];
  },
};

/** What a whole number stands for: the text or number at that place of `values`. */
const lookUp: OperatorRule = {
  ...single,
  options: {
    values: {
      expected: "a list of texts, or of numbers",
      accepts: (value) => isList(value, isNumber) || isList(value, isText),
    },
  },
  required: ["values"],
  build(graph, [x], { values }) {
    if (x!.datatype !== "INT64" && x!.datatype !== "INT32")
      unfit(`received ${x!.datatype}, expected INT64 or INT32`);
    const list = values as string[] | number[];
    const literal =
      typeof list[0] === "string"
        ? { datatype: "BYTES" as const, shape: [list.length], data: list as string[] }
        : { datatype: "FP32" as const, shape: [list.length], data: Float32Array.from(list as number[]) };
    return [graph.op("Gather", [graph.initializer("values", literal), x!], { axis: 0 })];
  },
};

/** Texts with a NUL would be cut off there by the runtime. */
function isText(value: unknown): boolean {
  return typeof value === "string" && !value.includes("\0");
}

export const scores = { softmax, argMax, topK, reduce, lookUp } as const satisfies Record<
  string,
  OperatorRule
>;
