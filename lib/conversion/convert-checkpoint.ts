/**
 * Turns a checkpoint into the ONNX model that is served, and proves it equal: both the converted model and the
 * graph the run trained with answer the same real examples, and the largest difference must stay within
 * `PARITY_TOLERANCE` (float32 sums in another order differ in the last bits; a wrong axis or a lost layer differs
 * by far more).
 */

import * as ort from "onnxruntime-node";
import { bindExamples, type ColumnChoice } from "../data/bind-examples.ts";
import { type Examples, rowRange, rowsOf } from "../data/examples.ts";
import { InvalidModelError, ParityError } from "../errors.ts";
import { compileInference } from "../nn/inference-graph.ts";
import { type Network, parseNetwork } from "../nn/network.ts";
import type { Lineage, ModelSignature, OutputScores } from "../protocol/models.ts";
import { nativeCall } from "../runtime/native-call.ts";
import { toOrt } from "../runtime/ort-tensor.ts";
import { castArray } from "../tensor/cast.ts";
import { BatchFeed } from "../training/batch-feed.ts";
import type { Checkpoint } from "../training/checkpoint.ts";
import { objectiveOf } from "../training/read-objective.ts";
import { compileEvaluationStep, endsOf, planWeights, type WeightPlan } from "../training/step-graph.ts";
import { labelsOf } from "../training/version-labels.ts";
import type { WeightLayout } from "../training/weight-layout.ts";

export const PARITY_TOLERANCE = 1e-5;
export const PARITY_EXAMPLES = 256;

export type Converted = {
  bytes: Uint8Array;
  signature: ModelSignature;
  /** Class names of the first output; none where it is compared with values, or is one raw score. */
  labels: string[];
  /** What each output gives where it tells classes apart. */
  scores: Record<string, OutputScores>;
  parity: Lineage["parity"];
};

/**
 * `columns` says which columns of the examples are fed.
 * @throws {ParityError} {InvalidModelError} {InvalidInputError} when the examples are not what the network takes
 */
export async function convertCheckpoint(
  checkpoint: Checkpoint,
  examples: Examples,
  columns: ColumnChoice = {},
): Promise<Converted> {
  const { spec, weights } = checkpoint;
  const network = parseNetwork(spec.architecture);
  const { bytes, signature } = compileInference(network, weights);
  const plan = planWeights(network);
  const bound = bindExamples(endsOf(network, plan), examples, columns);
  const count = Math.min(PARITY_EXAMPLES, examples.count);
  const objective = objectiveOf(spec, network, plan);

  const names = network.outputs.map(({ name }) => name);
  const given = weightFeeds(plan, checkpoint);
  // What was trained in batches of one size has room for others no larger.
  const batchSize = Math.min(count, spec.batchSize);
  const rest = count % batchSize;
  let maxAbsError = 0;
  for (const [size, from, to] of [
    [batchSize, 0, count - rest],
    [rest, count - rest, count],
  ] as const) {
    if (from === to) continue;
    const feed = new BatchFeed(network, bound, size, []);
    const trained = compileEvaluationStep(plan, { network, objective, batchSize: size, data: bound });
    const [training, serving] = [await open(trained), await open(bytes)];
    try {
      for (let row = from; row < to; row += size) {
        const rows = rowRange(row, row + size);
        feed.fill(rows);
        const asked = names.map((name) => `prediction/${name}`);
        const expected = await run(training, asked, { ...feed.feeds, ...given });
        const received = await run(serving, names, servedFeeds(network, bound, rows));
        for (const [i, values] of expected.entries())
          maxAbsError = Math.max(maxAbsError, largestDifference(values, received[i]!));
      }
    } finally {
      await Promise.all([training.release(), serving.release()]);
    }
  }
  if (!(maxAbsError <= PARITY_TOLERANCE)) throw new ParityError(maxAbsError, PARITY_TOLERANCE, count);
  const parity = { examples: count, maxAbsError, tolerance: PARITY_TOLERANCE };
  const scores = Object.fromEntries(names.map((name, i) => [name, objective[i]!.loss.scores]));
  return { bytes, signature, labels: labelsOf(bound.targets[0]!, plan, objective), scores, parity };
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

/** What the served model is fed for the given rows. */
function servedFeeds({ inputs }: Network, bound: Examples, rows: Uint32Array): Record<string, ort.Tensor> {
  const feeds = inputs.map(({ name, shape, datatype }, i) => {
    const data = castArray(rowsOf(bound.inputs[i]!, rows), datatype);
    return [name, toOrt({ name, datatype, shape: [rows.length, ...shape], data })] as const;
  });
  return Object.fromEntries(feeds);
}

function open(model: Uint8Array): Promise<ort.InferenceSession> {
  return nativeCall(() => ort.InferenceSession.create(model, { logSeverityLevel: 3 }));
}

async function run(
  session: ort.InferenceSession,
  outputs: readonly string[],
  feeds: Record<string, ort.Tensor>,
): Promise<Float32Array[]> {
  const results = await nativeCall(() => session.run(feeds, outputs));
  return outputs.map((name) => results[name]!.data as Float32Array);
}

/** The largest difference; of values beyond 1 in proportion to them, as float32 keeps them. */
function largestDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!) / Math.max(1, Math.abs(a[i]!));
    // NaN must not pass as small, nor be forgotten for a later, smaller difference.
    if (Number.isNaN(difference)) return Number.POSITIVE_INFINITY;
    if (difference > largest) largest = difference;
  }
  return largest;
}
