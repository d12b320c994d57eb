/**
 * ONNX's Scan with a body written as a function: for each step the body reads the states and a slice of every
 * sequence and gives the next states and a slice of every result. ONNX Runtime reads and writes the slices in place,
 * and compiles the body once, which here is faster than the same steps unrolled, in running and in compiling.
 *
 * The body may read values of the graph around it.
 */

import type { GraphBuilder, Value } from "./builder.ts";
import type { Dim } from "./graph.ts";

export type ScanBody = (
  body: GraphBuilder,
  states: readonly Value[],
  slices: readonly Value[],
) => { states: readonly Value[]; slices: readonly Value[] };

export type ScanOptions = {
  states: readonly Value[];
  /** [steps, ...] each. */
  sequences: readonly Value[];
  /** From the last step to the first; the results are in the order of the sequences all the same. */
  reverse?: boolean;
  /** Names for the last states and the results, "" for those not wanted. */
  names?: readonly string[];
};

/** Appends the Scan; gives the last states, then the results [steps, ...]. */
export function appendScan(graph: GraphBuilder, options: ScanOptions, write: ScanBody): Value[] {
  const { states, sequences, reverse = false } = options;
  const body = graph.nested("scan");
  const input = (stem: string, like: Value, shape: Dim[]) => body.input(stem, like.datatype, shape);
  const result = write(
    body,
    states.map((state) => input("state", state, [...state.shape])),
    sequences.map((sequence) => input("slice", sequence, sequence.shape.slice(1))),
  );
  for (const value of [...result.states, ...result.slices]) body.output(value, body.unique("out"));
  const direction = (count: number) => new Array<number>(count).fill(reverse ? 1 : 0);
  const inputs = [...states, ...sequences];
  const attributes = {
    body: body.build(),
    num_scan_inputs: sequences.length,
    scan_input_directions: direction(sequences.length),
    ...(result.slices.length > 0 && { scan_output_directions: direction(result.slices.length) }),
  };
  const { names } = options;
  if (!names) return graph.ops("Scan", inputs, states.length + result.slices.length, attributes);
  const outputs = names.map((name) => (name === "" ? graph.unique("scan") : name));
  graph.append({
    name: `Scan:${outputs[0]}`,
    op: "Scan",
    domain: "",
    inputs: inputs.map(({ name }) => name),
    outputs,
    attributes,
  });
  return outputs.map((name) => graph.valueOf(name));
}
