/** Operators of one or more steps, in their order, as one ONNX graph. */

import { errorMessage, InvalidModelError } from "../errors.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { type Dim, OPSET } from "../onnx/graph.ts";
import { writeModel } from "../onnx/proto.ts";
import type { OperatorStep } from "../protocol/ensembles.ts";
import { elementCount, type TensorSpec } from "../tensor/tensor.ts";
import { wiringOf } from "./dataflow.ts";
import type { OperatorRule } from "./operators/rule.ts";
import { OPERATORS } from "./operators/table.ts";

export type OperatorGraph = {
  /** In the order of `inputs` and `outputs`: names are those of the ensemble's tensors. */
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  model: () => Uint8Array;
};

const MAX_ELEMENTS = 2 ** 28;
/** What a free first dimension is called: all tensors of a graph that have one count the same rows by it. */
const ROWS = "rows";

/**
 * @param steps each after those whose tensors it reads
 * @param inputs tensors from outside
 * @param wanted names of tensors that others read; undefined: all that have a name
 * @throws {InvalidModelError} naming the step and the operator
 */
export function buildOperators(
  steps: readonly OperatorStep[],
  inputs: readonly TensorSpec[],
  wanted?: ReadonlySet<string>,
): OperatorGraph {
  const graph = new GraphBuilder("operators");
  const values = new Map<string, Value>();
  for (const { name, datatype, shape } of inputs)
    values.set(name, graph.input(name, datatype, shape.map(dimOf(name))));
  // Before any inner value can take them.
  for (const step of steps) for (const tensor of wiringOf(step).writes) graph.unique(tensor);
  const outputs: TensorSpec[] = [];
  for (const step of steps) {
    let previous: Value | undefined;
    for (const [i, call] of step.operators.entries()) {
      const { inputs: reads, outputs: writes = [], operator } = call;
      const given = reads ? reads.map((tensor) => values.get(tensor)!) : [previous!];
      const results = built(
        OPERATORS[operator]!,
        graph,
        given,
        call,
        `step '${step.name}', operator ${i} (${operator})`,
      );
      previous = results[0]!;
      for (const [at, tensor] of writes.entries()) {
        const value = results[at]!;
        values.set(tensor, value);
        if (wanted && !wanted.has(tensor)) continue;
        graph.output(value, tensor);
        const shape = value.shape.map((size) => (typeof size === "number" ? size : -1));
        outputs.push({ name: tensor, datatype: value.datatype, shape });
      }
    }
  }
  const model = () =>
    writeModel({ graph: graph.build(), opsets: { "": OPSET }, producer: "moiety", metadata: {} });
  return { inputs: [...inputs], outputs, model };
}

function built(
  { build }: OperatorRule,
  graph: GraphBuilder,
  inputs: readonly Value[],
  options: Readonly<Record<string, unknown>>,
  where: string,
): Value[] {
  try {
    const results = build(graph, inputs, options);
    for (const { shape } of results) assertSize(shape);
    return results;
  } catch (error) {
    const { reason } = (error instanceof InvalidModelError ? error.data : {}) as { reason?: string };
    throw new InvalidModelError(where, reason ?? errorMessage(error));
  }
}

/** One row of it would not fit any machine's memory; free sizes count 1. */
function assertSize(shape: readonly Dim[]): void {
  const elements = elementCount(shape.map((size) => (typeof size === "number" ? size : 1)));
  if (elements > MAX_ELEMENTS)
    throw new InvalidModelError(
      "operator",
      `${elements} elements in a row, expected at most ${MAX_ELEMENTS}`,
    );
}

const dimOf =
  (tensor: string) =>
  (size: number, axis: number): Dim =>
    size !== -1 ? size : axis === 0 ? ROWS : `${tensor}_${axis}`;
