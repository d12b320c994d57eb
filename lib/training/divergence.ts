/**
 * Where a step that diverged began to give what is no number. Looks once, after the fact, with the weights from before
 * the step and its very batch and masks: at the data, the weights, the output of each layer in order, the loss, and
 * the gradients. A run that does not diverge pays nothing.
 */

import * as ort from "onnxruntime-node";
import { gradients } from "../autodiff/backward.ts";
import type { LayerContext } from "../nn/layer.ts";
import type { Network } from "../nn/network.ts";
import { GraphBuilder, type Value } from "../onnx/builder.ts";
import { lowerColumnConv } from "../onnx/passes/lower-column-conv.ts";
import { nativeCall } from "../runtime/native-call.ts";
import { appendForward, type StepSpec, serialise, type WeightPlan } from "./step-graph.ts";
import { namedWeights, type WeightLayout } from "./weight-layout.ts";

/** The first thing that was not finite: the layer it belongs to, if any, and what it is. */
export type DivergenceOrigin = { layer?: string; what: string };

export type DivergedStep = {
  plan: WeightPlan;
  spec: StepSpec;
  /** Everything the step was fed, with the weights and statistics from before it. */
  feeds: Readonly<Record<string, ort.Tensor>>;
  /** The weights and statistics it gave. */
  next: { weights: Float32Array; statistics: Float32Array };
};

/** Undefined when the step, computed again, is finite throughout. */
export async function findDivergence(step: DivergedStep): Promise<DivergenceOrigin | undefined> {
  return inData(step) ?? inWeights(step) ?? (await inGraph(step)) ?? inUpdate(step);
}

function inData({ feeds }: DivergedStep): DivergenceOrigin | undefined {
  for (const [name, { data }] of Object.entries(feeds)) {
    const fed = /^(input|target)\//.test(name) || name === "example_weights";
    if (fed && data instanceof Float32Array && !data.every(Number.isFinite))
      return { what: `the data (${name})` };
  }
  return undefined;
}

/** What the update before this one left. Gradients flow backwards: the last layer that is not finite was the first. */
function inWeights({ plan, feeds }: DivergedStep): DivergenceOrigin | undefined {
  const of = (layout: WeightLayout, name: string) =>
    feeds[name] && lastUnfinished(layout, feeds[name].data as Float32Array);
  const found = of(plan.trainedLayout, "weights") ?? of(plan.statisticsLayout, "statistics");
  return found === undefined ? undefined : originIn(found, `weight '${found}', after the step before`);
}

function inUpdate({ plan, next }: DivergedStep): DivergenceOrigin | undefined {
  const found =
    lastUnfinished(plan.trainedLayout, next.weights) ??
    lastUnfinished(plan.statisticsLayout, next.statistics);
  return found === undefined ? undefined : originIn(found, `the update of weight '${found}'`);
}

function lastUnfinished(layout: WeightLayout, flat: Float32Array): string | undefined {
  return [...namedWeights(layout, flat)].findLast(([, { data }]) => !data.every(Number.isFinite))?.[0];
}

async function inGraph({ plan, spec, feeds }: DivergedStep): Promise<DivergenceOrigin | undefined> {
  const graph = new GraphBuilder("divergence");
  const outputs: { layer: string; value: Value }[] = [];
  const network = observed(spec.network, (layer, values) => {
    // Values of another graph lie within a loop: it is seen from outside.
    for (const { value } of values)
      if (graph.values.get(value.name) === value) outputs.push({ layer, value });
  });
  const step = appendForward(graph, plan, { ...spec, network }, true);
  const parameters = plan.trained.map(({ name }) => step.weights.get(name)!);
  const found = gradients(graph, step.loss, parameters);
  const looked: { origin: DivergenceOrigin; value: Value }[] = [
    ...outputs.map(({ layer, value }) => ({ origin: { layer, what: "its output" }, value })),
    { origin: { what: "the loss" }, value: step.loss },
    ...plan.trained
      .map(({ name }, i) => ({
        origin: originIn(name, `the gradient of weight '${name}'`),
        value: found[i]!,
      }))
      .toReversed(),
  ].filter(({ value }) => value.datatype === "FP32");
  // Nought for what is finite, no number for what is not.
  const doubts = looked.map(({ value }) => {
    const doubt = graph.op("ReduceSum", [graph.op("Sub", [value, value])], { keepdims: 0 });
    return graph.op("Reshape", [doubt, graph.ints([1])]);
  });
  graph.output(graph.op("Concat", doubts, { axis: 0 }), "doubts");
  lowerColumnConv(graph, undefined);
  const session = await nativeCall(() =>
    ort.InferenceSession.create(serialise(graph), {
      graphOptimizationLevel: "disabled",
      logSeverityLevel: 3,
    }),
  );
  try {
    const named = new Set<string>(session.inputNames);
    const fed = Object.entries(feeds).filter(([name]) => named.has(name));
    const answer = await nativeCall(() => session.run(Object.fromEntries(fed)));
    const at = (answer.doubts!.data as Float32Array).findIndex((doubt) => !Number.isFinite(doubt));
    return looked[at]?.origin;
  } finally {
    await session.release();
  }
}

/** The same network, whose layers show what they give, and those of models within it first. */
function observed(network: Network, see: NonNullable<LayerContext["gave"]>): Network {
  const watched = (context: LayerContext): LayerContext => ({
    ...context,
    gave: see,
    within: (name, options) => watched(context.within(name, options)),
  });
  const steps = network.steps.map((step) => {
    const { layer } = step;
    const apply: typeof layer.apply = (context, inputs, call) => {
      const given = layer.apply(watched(context), inputs, call);
      see(context.layerName, Array.isArray(given) ? given : [given]);
      return given;
    };
    return { ...step, layer: { ...layer, apply } };
  });
  return { ...network, steps };
}

function originIn(weight: string, what: string): DivergenceOrigin {
  return { layer: weight.slice(0, weight.lastIndexOf("/")), what };
}
