/** Writes every RnnSequence, GruSequence and LstmSequence as ONNX's Scan. */

import type { GraphBuilder } from "../builder.ts";
import { appendSequence, type SequenceOp } from "../sequence-cells.ts";

const SEQUENCES: ReadonlySet<string> = new Set<SequenceOp>(["RnnSequence", "GruSequence", "LstmSequence"]);

export function lowerSequences(graph: GraphBuilder): void {
  for (const node of graph.nodes.splice(0)) {
    if (SEQUENCES.has(node.op))
      appendSequence(graph, node.op as SequenceOp, graph.inputsOf(node), node.attributes, node.outputs);
    else graph.append(node);
  }
}
