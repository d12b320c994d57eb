/**
 * Regularisers, by their Keras names (keras.io/api/layers/regularizers): penalties on weights, or on what a layer
 * gives, that are added to the loss in training and in evaluation. To add one: an entry in the table.
 */

import { InvalidModelError } from "../errors.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import type { TensorLiteral } from "../onnx/graph.ts";
import type { KerasObject } from "../protocol/jobs.ts";
import { ConfigReader, kerasObject, lookUp } from "./config-reader.ts";

/**
 * Appends the penalty of `x`, a scalar; undefined: there is none. Axis i of `x` is axis order[i] of Keras's tensor.
 * @throws {InvalidModelError} when there is no penalty of such a shape
 */
export type Regularizer = (graph: GraphBuilder, x: Value, order?: readonly number[]) => Value | undefined;

const total = (graph: GraphBuilder, x: Value): Value => graph.op("ReduceSum", [x], { keepdims: 0 });
const squares = (graph: GraphBuilder, x: Value): Value => graph.op("Mul", [x, x]);

/** l1·Σ|x| + l2·Σx² */
export function l1l2(l1: number, l2: number): Regularizer {
  return (graph, x) => {
    const terms: Value[] = [];
    if (l1 !== 0) terms.push(graph.op("Mul", [total(graph, graph.op("Abs", [x])), graph.scalar(l1)]));
    if (l2 !== 0) terms.push(graph.op("Mul", [total(graph, squares(graph, x)), graph.scalar(l2)]));
    return terms.length > 1 ? graph.op("Add", terms) : terms[0];
  };
}

/** The mean of |cos| over all pairs of rows (or columns) of a matrix, times the factor. */
function orthogonality(factor: number, mode: "rows" | "columns"): Regularizer {
  return (graph, x, order) => {
    const [a, b, ...more] = x.shape;
    if (typeof a !== "number" || typeof b !== "number" || more.length > 0)
      throw new InvalidModelError(
        "OrthogonalRegularizer",
        `received [${x.shape.join(",")}], expected a matrix`,
      );
    // Rows of a matrix that lies transposed are its columns.
    const rows = (mode === "rows") === (order?.[0] !== 1);
    const size = rows ? a : b;
    if (size < 2)
      throw new InvalidModelError("OrthogonalRegularizer", `received one of ${mode}, expected several`);
    const sums = graph.op("ReduceSum", [squares(graph, x), graph.ints([rows ? 1 : 0])], { keepdims: 1 });
    // Keras divides by at least this length.
    const length = graph.op("Sqrt", [graph.op("Max", [sums, graph.scalar(EPSILON ** 2)])]);
    const unit = graph.op("Div", [x, length]);
    const turned = graph.op("Transpose", [unit], { perm: [1, 0] });
    const cosines = graph.op("MatMul", rows ? [unit, turned] : [turned, unit]);
    const pairs = graph.op("Mul", [
      graph.op("Abs", [cosines]),
      graph.constant(`others_${size}`, others(size)),
    ]);
    return graph.op("Mul", [total(graph, pairs), graph.scalar(factor / (size * (size - 1)))]);
  };
}

const EPSILON = 1e-7;

/** Ones, but on the diagonal. */
function others(size: number): TensorLiteral {
  const data = Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 0 : 1));
  return { datatype: "FP32", shape: [size, size], data };
}

const share = (config: ConfigReader, name: string, fallback: number): number =>
  config.number(name, { fallback, min: 0 });

export const REGULARIZERS: Readonly<Record<string, (config: ConfigReader) => Regularizer>> = {
  L1: (c) => l1l2(share(c, "l1", 0.01), 0),
  L2: (c) => l1l2(0, share(c, "l2", 0.01)),
  L1L2: (c) => l1l2(share(c, "l1", 0), share(c, "l2", 0)),
  OrthogonalRegularizer: (c) =>
    orthogonality(share(c, "factor", 0.01), c.choice("mode", ["rows", "columns"], "rows")),
};

/** Reads an option that may be left out. @throws {UnknownComponentError} {InvalidModelError} */
export function readRegularizer(config: ConfigReader, name: string): Regularizer | undefined {
  const declared = config.raw(name);
  const where = `${config.where}.${name}`;
  return declared === undefined ? undefined : regularizerOf(kerasObject(declared, where), where);
}

function regularizerOf(object: KerasObject, where: string): Regularizer {
  const parse = lookUp(REGULARIZERS, "regularizer", object.class_name);
  const config = new ConfigReader(where, object.config);
  const regularizer = parse(config);
  config.done();
  return regularizer;
}
