/** A declared network with the weights of an outside witness, ready to be run and differentiated. */

import { gradients } from "../../lib/autodiff/backward.ts";
import { inKerasOrder, type WeightSpec } from "../../lib/nn/layer.ts";
import { buildNetwork, parseNetwork } from "../../lib/nn/network.ts";
import { GraphBuilder, type Value } from "../../lib/onnx/builder.ts";
import { type Fed, runOnce } from "./graph-runner.ts";

export type Values = { shape: number[]; data: ArrayLike<number> };
export type NetworkCase = {
  architecture: unknown;
  x: Values;
  /** Of the output, in Keras's order of axes: gradients are those of Σ c·y. */
  cotangent: Values;
  /** By "<layer>/<variable>", with Keras's axes. */
  weights: Readonly<Record<string, Values>>;
};

/** A variable of Keras with its axes as the weight keeps them. */
export function inMemory(
  { shape, data }: Values,
  { order }: WeightSpec,
): { shape: number[]; data: Float32Array } {
  const axes = order ?? shape.map((_, axis) => axis);
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const moved = axes.map((axis) => shape[axis]!);
  const place = Array.from(moved, () => 0);
  const result = Float32Array.from({ length: data.length }, () => {
    const value = data[place.reduce((at, index, i) => at + index * strides[axes[i]!]!, 0)]!;
    for (let i = place.length - 1; i >= 0 && ++place[i]! === moved[i]; i--) place[i] = 0;
    return value;
  });
  return { shape: moved, data: result };
}

function build({ architecture, x: fed, weights }: NetworkCase, training: boolean) {
  const graph = new GraphBuilder("case");
  const [batch, ...sizes] = fed.shape;
  const x = graph.input("x", "FP32", [training ? batch! : "batch", ...sizes]);
  const specs: WeightSpec[] = [];
  const values: Value[] = [];
  const { outputs } = buildNetwork(parseNetwork(architecture), graph, [x], {
    training,
    weightValue(spec) {
      const value = graph.input(spec.name, "FP32", spec.shape);
      specs.push(spec);
      values.push(value);
      return value;
    },
  });
  const feeds: Record<string, Fed> = { x: { shape: fed.shape, data: Float32Array.from(fed.data) } };
  for (const spec of specs) feeds[spec.name] = inMemory(weights[spec.name]!, spec);
  return { graph, x, y: inKerasOrder(graph, outputs[0]!), specs, values, feeds };
}

/** What the inference graph answers, built for any batch size. */
export async function infer(given: NetworkCase): Promise<{ specs: WeightSpec[]; y: Values }> {
  const { graph, y, specs, feeds } = build(given, false);
  graph.output(y, "y");
  const received = await runOnce(graph, feeds);
  return { specs, y: received.y as Values };
}

/** What the training graph answers, and the gradients of the input and of every weight, axes as in memory. */
export async function train(
  given: NetworkCase,
): Promise<{ specs: WeightSpec[]; y: Values; dx: Values; gradients: Map<string, Values> }> {
  const { graph, x, y, specs, values, feeds } = build(given, true);
  const { shape, data } = given.cotangent;
  const c = graph.initializer("c", { datatype: "FP32", shape, data: Float32Array.from(data) });
  const loss = graph.op("ReduceSum", [graph.op("Mul", [y, c])], { keepdims: 0 });
  graph.output(y, "y");
  gradients(graph, loss, [x, ...values]).forEach((gradient, i) => {
    graph.output(gradient, `d${i}`);
  });
  const received = await runOnce(graph, feeds);
  return {
    specs,
    y: received.y as Values,
    dx: received.d0 as Values,
    gradients: new Map(specs.map((spec, i) => [spec.name, received[`d${i + 1}`] as Values])),
  };
}
