/**
 * A trained network as the ONNX model that is served: weights inside, any batch size, pre-processing layers
 * included, training-only behaviour (dropout, batch statistics) gone.
 */

import { InvalidModelError } from "../errors.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { literalOf, OPSET } from "../onnx/graph.ts";
import { spreadScalars } from "../onnx/passes/spread-scalars.ts";
import { trimBorders } from "../onnx/passes/trim-borders.ts";
import { writeModel } from "../onnx/proto.ts";
import type { ModelSignature } from "../protocol/models.ts";
import { inKerasOrder } from "./layer.ts";
import { buildNetwork, type Network } from "./network.ts";

/** The batch dimension's name in served models. */
const BATCH = "batch";

/**
 * Inputs: [batch, …shape], under the network's input names. Outputs: FP32, named as the layers that give them.
 * @throws {InvalidModelError} when a weight is missing or has another shape
 */
export function compileInference(
  network: Network,
  weights: ReadonlyMap<string, { shape: number[]; data: Float32Array }>,
): { bytes: Uint8Array; signature: ModelSignature } {
  const graph = new GraphBuilder(network.name);
  const inputs = network.inputs.map(({ name, datatype, shape }) =>
    graph.input(name, datatype, [BATCH, ...shape]),
  );
  const built = buildNetwork(network, graph, inputs, {
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
  const outputs = built.outputs.map((output) => inKerasOrder(graph, output));
  trimBorders(graph, new Set(outputs.map(({ name }) => name)));
  for (const [i, { name }] of network.outputs.entries()) graph.output(outputs[i]!, name);
  const specOf = (name: string, { datatype, shape }: Value) => ({
    name,
    datatype,
    shape: shape.map((dim) => (typeof dim === "number" ? dim : -1)),
  });
  spreadScalars(graph);
  return {
    bytes: writeModel({ graph: graph.build(), opsets: { "": OPSET }, producer: "moiety", metadata: {} }),
    signature: {
      inputs: inputs.map((input) => specOf(input.name, input)),
      outputs: network.outputs.map(({ name }, i) => specOf(name, outputs[i]!)),
    },
  };
}
