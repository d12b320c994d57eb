/**
 * A trained network as the ONNX model that is served: weights inside, any batch size, pre-processing layers
 * included, training-only behaviour (dropout, batch statistics) gone.
 */

import { InvalidModelError } from "../errors.ts";
import { GraphBuilder } from "../onnx/builder.ts";
import { literalOf, OPSET } from "../onnx/graph.ts";
import { trimBorders } from "../onnx/passes/trim-borders.ts";
import { writeModel } from "../onnx/proto.ts";
import type { ModelSignature } from "../protocol/models.ts";
import { inKerasOrder } from "./layer.ts";
import { buildNetwork, type Network } from "./network.ts";

/** The batch dimension's name in served models. */
const BATCH = "batch";

/**
 * Input: FP32 [batch, …network.inputs[0]!.shape], under the network's input name. Output: FP32, named as the layer that gives it.
 * @throws {InvalidModelError} when a weight is missing or has another shape
 */
export function compileInference(
  network: Network,
  weights: ReadonlyMap<string, { shape: number[]; data: Float32Array }>,
): { bytes: Uint8Array; signature: ModelSignature } {
  const graph = new GraphBuilder(network.name);
  const input = graph.input(network.inputs[0]!.name, "FP32", [BATCH, ...network.inputs[0]!.shape]);
  const built = buildNetwork(network, graph, [input], {
    training: false,
    weightValue: (spec) => {
      const weight = weights.get(spec.name);
      if (weight?.shape.join() !== spec.shape.join())
        throw new InvalidModelError(
          `weight '${spec.name}'`,
          `received ${weight ? `[${weight.shape.join(",")}]` : "nothing"}, expected [${spec.shape.join(",")}]`,
        );
      return graph.initializer(spec.name, literalOf(weight.data, spec.shape));
    },
  });
  const output = inKerasOrder(graph, built.outputs[0]!);
  trimBorders(graph, new Set([output.name]));
  graph.output(output, network.outputs[0]!.name);
  const fixed = (shape: readonly (number | string)[]) =>
    shape.map((dim) => (typeof dim === "number" ? dim : -1));
  return {
    bytes: writeModel({ graph: graph.build(), opsets: { "": OPSET }, producer: "moiety", metadata: {} }),
    signature: {
      inputs: [{ name: input.name, datatype: "FP32", shape: fixed(input.shape) }],
      outputs: [{ name: network.outputs[0]!.name, datatype: "FP32", shape: fixed(output.shape) }],
    },
  };
}
