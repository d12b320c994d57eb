/**
 * TimeDistributed: one layer, or model, applied to each step of [batch, steps, ...] alike. The steps are taken into
 * the batch and out of it again, which moves no element. Refused: a layer that keeps statistics, which Keras would
 * update step by step, unless it is frozen; and a penalty on what the layer gives, which Keras drops.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import type { Dim } from "../../onnx/graph.ts";
import {
  inKerasOrder,
  kerasShape,
  type LayerContext,
  type LayerDefinition,
  type LayerValue,
  reshapeTo,
} from "../layer.ts";

import { arranged } from "./spatial.ts";

export const timeDistributed: LayerDefinition = (config, readLayer) => {
  const layer = readLayer(config.raw("layer"), `${config.where}.layer`);

  return (c, [x]) => {
    const [batch, steps, ...rest] = kerasShape(x!);
    if (rest.length === 0)
      throw new InvalidModelError(
        "input",
        `needs [batch, steps, ...], received rank ${x!.value.shape.length}`,
      );
    const inner = withoutUpdates(c.within(layer.name, { frozen: layer.frozen }));
    const call = { tensors: new Map(), options: new Map() };
    const given = [layer.apply(inner, [stepsIntoBatch(c.graph, x!)], call)].flat() as LayerValue[];
    if (given.length !== 1)
      throw new InvalidModelError(`layer '${layer.name}'`, `gives ${given.length} tensors, expected one`);
    return stepsOutOfBatch(c.graph, given[0]!, [batch!, steps!]);
  };
};

/** [batch·steps, ...], in the order the other axes lie in if batch and steps lie side by side. */
function stepsIntoBatch(graph: GraphBuilder, x: LayerValue): LayerValue {
  const identity = x.value.shape.map((_, axis) => axis);
  const place = (x.order ?? identity).indexOf(0);
  const beside = (x.order ?? identity)[place + 1] === 1;
  if (!beside) return stepsIntoBatch(graph, { value: inKerasOrder(graph, x) });
  const [batch, steps] = x.value.shape.slice(place) as [Dim, number];
  // A varying batch stays one: how much it holds does not matter to what follows.
  const folded = typeof batch === "number" ? batch * steps : batch;
  const value = reshapeTo(graph, x.value, x.value.shape.toSpliced(place, 2, folded));
  const order = x.order?.toSpliced(place, 1).map((axis) => Math.max(axis - 1, 0));
  return arranged(value, order);
}

function stepsOutOfBatch(graph: GraphBuilder, y: LayerValue, parts: readonly Dim[]): LayerValue {
  const order = y.order ?? y.value.shape.map((_, axis) => axis);
  const place = order.indexOf(0);
  const unfold = (value: Value) => reshapeTo(graph, value, value.shape.toSpliced(place, 1, ...parts));
  const placed = arranged(
    unfold(y.value),
    order.flatMap((axis) => (axis === 0 ? [0, 1] : [axis + 1])),
  );
  return y.logits ? { ...placed, logits: { ...y.logits, value: unfold(y.logits.value) } } : placed;
}

function withoutUpdates(c: LayerContext): LayerContext {
  return {
    ...c,
    within: (name, options) => withoutUpdates(c.within(name, options)),
    updateWeight() {
      throw new InvalidModelError(
        c.layerName,
        "keeps statistics of each step, which is not supported unless it is frozen (trainable: false)",
      );
    },
    penalise() {
      throw new InvalidModelError(
        c.layerName,
        "has an activity_regularizer, which Keras leaves out of the loss here",
      );
    },
  };
}
