/**
 * Turns a checkpoint into the ONNX model that is served, and proves it equal: both the converted model and the
 * graph the run trained with answer the same real examples, and the largest difference must stay within
 * `PARITY_TOLERANCE` (float32 sums in another order differ in the last bits; a wrong axis or a lost layer differs
 * by far more).
 */

import * as ort from "onnxruntime-node";
import type { Examples } from "../data/examples.ts";
import { InvalidInputError, InvalidModelError, ParityError } from "../errors.ts";
import { compileInference } from "../nn/inference-graph.ts";
import { lossOf } from "../nn/losses/table.ts";
import { parseNetwork } from "../nn/network.ts";
import type { Lineage, ModelSignature } from "../protocol/models.ts";
import { nativeCall } from "../runtime/native-call.ts";
import { toOrt } from "../runtime/ort-tensor.ts";
import type { Checkpoint } from "../training/checkpoint.ts";
import { compileEvaluationStep, planWeights, type WeightPlan } from "../training/step-graph.ts";
import type { WeightLayout } from "../training/weight-layout.ts";

export const PARITY_TOLERANCE = 1e-5;
export const PARITY_EXAMPLES = 256;

export type Converted = { bytes: Uint8Array; signature: ModelSignature; parity: Lineage["parity"] };

/** @throws {ParityError} {InvalidModelError} {InvalidInputError} when the examples are not what the network takes */
export async function convertCheckpoint(checkpoint: Checkpoint, examples: Examples): Promise<Converted> {
  const network = parseNetwork(checkpoint.spec.architecture);
  const { bytes, signature } = compileInference(network, checkpoint.weights);
  if (examples.featureShape.join() !== network.inputs[0]!.shape.join())
    throw new InvalidInputError({
      field: "dataset",
      received: `examples of shape [${examples.featureShape.join(",")}]`,
      expected: `[${network.inputs[0]!.shape.join(",")}], the network's input`,
    });
  const count = Math.min(PARITY_EXAMPLES, examples.count);
  const size = examples.features.length / examples.count;
  const raw = examples.features.subarray(0, count * size);

  const plan = planWeights(network);
  const options = {
    network,
    loss: lossOf(checkpoint.spec.loss),
    batchSize: count,
    featureType: examples.featureType,
  };
  const expected = await run(compileEvaluationStep(plan, options), "prediction", {
    features: toOrt({
      name: "features",
      datatype: examples.featureType,
      shape: [count, ...examples.featureShape],
      data: raw,
    }),
    labels: new ort.Tensor("int64", BigInt64Array.from(examples.labels.subarray(0, count), BigInt), [count]),
    ...weightFeeds(plan, checkpoint),
  });
  const received = await run(bytes, signature.outputs[0]!.name, {
    [network.inputs[0]!.name]: new ort.Tensor("float32", Float32Array.from(raw as Uint8Array), [
      count,
      ...network.inputs[0]!.shape,
    ]),
  });

  const maxAbsError = largestDifference(expected, received);
  if (!(maxAbsError <= PARITY_TOLERANCE)) throw new ParityError(maxAbsError, PARITY_TOLERANCE, count);
  return { bytes, signature, parity: { examples: count, maxAbsError, tolerance: PARITY_TOLERANCE } };
}

function weightFeeds(plan: WeightPlan, checkpoint: Checkpoint): Record<string, ort.Tensor> {
  const gather = (layout: WeightLayout) => {
    const flat = new Float32Array(layout.size);
    for (const slice of layout.slices) {
      const weight = checkpoint.weights.get(slice.name);
      if (!weight) throw new InvalidModelError(`weight '${slice.name}'`, "the checkpoint does not hold it");
      flat.set(weight.data, slice.offset);
    }
    return new ort.Tensor("float32", flat, [layout.size]);
  };
  return plan.statistics.length > 0
    ? { weights: gather(plan.trainedLayout), statistics: gather(plan.statisticsLayout) }
    : { weights: gather(plan.trainedLayout) };
}

async function run(
  model: Uint8Array,
  output: string,
  feeds: Record<string, ort.Tensor>,
): Promise<Float32Array> {
  const session = await nativeCall(() => ort.InferenceSession.create(model, { logSeverityLevel: 3 }));
  try {
    const results = await nativeCall(() => session.run(feeds, [output]));
    return (results[output]!.data as Float32Array).slice();
  } finally {
    await session.release();
  }
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    // NaN must not pass as small, nor be forgotten for a later, smaller difference.
    if (Number.isNaN(difference)) return Number.POSITIVE_INFINITY;
    if (difference > largest) largest = difference;
  }
  return largest;
}
