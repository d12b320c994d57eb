/** Operators that compute element by element. */

import type { Value } from "../../onnx/builder.ts";
import {
  assertFloat,
  channelConstant,
  constantLike,
  INTEGER,
  isList,
  isNumber,
  NUMBER,
  NUMBERS,
  type OperatorRule,
  unfit,
} from "./rule.ts";

/** `scale * x + offset`, each one number or one per channel. */
const scale: OperatorRule = {
  options: { scale: NUMBERS, offset: NUMBERS, axis: INTEGER },
  required: [],
  inputs: [1, 1],
  outputs: 1,
  build(graph, [x], { scale, offset, axis = -1 }) {
    let value = x!;
    for (const [op, numbers] of [
      ["Mul", scale],
      ["Add", offset],
    ] as const)
      if (numbers !== undefined)
        value = graph.op(op, [
          value,
          channelConstant(graph, value, numbers as number | number[], axis as number),
        ]);
    if (value === x) unfit('neither "scale" nor "offset" is given');
    return [value];
  },
};

/** `(x - mean) / std`, per channel. */
const normalize: OperatorRule = {
  options: { mean: NUMBERS, std: positive(), axis: INTEGER },
  required: ["mean", "std"],
  inputs: [1, 1],
  outputs: 1,
  build(graph, [x], { mean, std, axis = -1 }) {
    assertFloat(x!);
    const constant = (numbers: unknown) =>
      channelConstant(graph, x!, numbers as number | number[], axis as number);
    return [graph.op("Div", [graph.op("Sub", [x!, constant(mean)]), constant(std)])];
  },
};

const clip: OperatorRule = {
  options: { min: NUMBER, max: NUMBER },
  required: [],
  inputs: [1, 1],
  outputs: 1,
  build(graph, [x], { min, max }) {
    if (min === undefined && max === undefined) unfit('neither "min" nor "max" is given');
    const bound = (number: unknown) =>
      number === undefined ? undefined : constantLike(graph, x!, [number as number], []);
    return [graph.op("Clip", max === undefined ? [x!, bound(min)] : [x!, bound(min), bound(max)])];
  },
};

/** Whether `x > above`, as BOOL. */
const threshold: OperatorRule = {
  options: { above: NUMBER },
  required: ["above"],
  inputs: [1, 1],
  outputs: 1,
  build: (graph, [x], { above }) => [
    graph.op("Greater", [x!, constantLike(graph, x!, [above as number], [])]),
  ],
};

/** Two or more tensors whose shapes spread over one another. */
const together = (op: string, most = 2): OperatorRule => ({
  options: {},
  required: [],
  inputs: [2, most],
  outputs: 1,
  build: (graph, [first, ...others]) => [
    others.reduce((joined: Value, other) => graph.op(op, [joined, other]), first!),
  ],
});

/** The mean of tensors, each with its weight: `sum of w x / sum of w`. */
const mean: OperatorRule = {
  options: {
    weights: {
      expected: "a number of at least 0 for each input, not all 0",
      accepts: (value) => isList(value, (w) => isNumber(w) && w >= 0) && value.some((w) => w !== 0),
    },
  },
  required: [],
  inputs: [1, 64],
  outputs: 1,
  build(graph, inputs, { weights }) {
    for (const input of inputs) assertFloat(input);
    if (weights === undefined) return [graph.op("Mean", inputs)];
    const each = weights as number[];
    if (each.length !== inputs.length)
      unfit(`received ${each.length} weights for ${inputs.length} tensors, expected one each`);
    const total = each.reduce((sum, weight) => sum + weight, 0);
    const parts = inputs.map((x, i) => graph.op("Mul", [x, constantLike(graph, x, [each[i]! / total], [])]));
    return [graph.op("Sum", parts)];
  },
};

const unary = (op: string): OperatorRule => ({
  options: {},
  required: [],
  inputs: [1, 1],
  outputs: 1,
  build(graph, [x]) {
    assertFloat(x!);
    return [graph.op(op, [x!])];
  },
});

function positive() {
  const accepts = (value: unknown) => isNumber(value) && value > 0;
  return {
    expected: "a number above 0, or one for each channel",
    accepts: (value: unknown) => accepts(value) || isList(value, accepts),
  };
}

export const arithmetic = {
  scale,
  normalize,
  clip,
  threshold,
  add: together("Add", 64),
  subtract: together("Sub"),
  multiply: together("Mul", 64),
  divide: together("Div"),
  max: together("Max", 64),
  min: together("Min", 64),
  mean,
  sigmoid: unary("Sigmoid"),
  tanh: unary("Tanh"),
  relu: unary("Relu"),
  exp: unary("Exp"),
  log: unary("Log"),
} as const satisfies Record<string, OperatorRule>;
