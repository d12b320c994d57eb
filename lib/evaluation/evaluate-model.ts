/** Scores a served ONNX classifier on labelled examples: what is measured is the very file that will answer. */

import * as ort from "onnxruntime-node";
import { classNames, type Examples } from "../data/examples.ts";
import { CancelledError, errorMessage, InvalidModelError } from "../errors.ts";
import { classProbabilities } from "../metrics/class-probabilities.ts";
import { ClassificationTally } from "../metrics/classification.ts";
import type { Evaluation, OutputScores } from "../protocol/models.ts";
import { nativeCall } from "../runtime/native-call.ts";
import { signatureOf } from "../runtime/ort-tensor.ts";

const BATCH_ROWS = 256;
const SESSION: ort.InferenceSession.SessionOptions = { logSeverityLevel: 3 };

/**
 * Outputs beyond the data's labels count as classes that never occur; one output tells two classes apart.
 * @param cancelled asked before every batch; true stops with `CancelledError`
 * @param scores what the model gives
 * @throws {InvalidModelError} when the model cannot be loaded, does not take the examples, gives no
 * [batch, classes], fewer classes than the data has, or numbers that are not finite
 */
export async function evaluateModel(
  model: Uint8Array,
  examples: Examples,
  labelNames: readonly string[],
  cancelled: () => boolean = () => false,
  scores: OutputScores = "probabilities",
): Promise<Evaluation> {
  const session = await nativeCall(() => ort.InferenceSession.create(model, SESSION)).catch(
    (error: unknown) => {
      throw new InvalidModelError("model", `cannot be loaded: ${errorMessage(error)}`);
    },
  );
  try {
    const { input, output } = endsOf(session, examples.featureShape);
    let tally: ClassificationTally | undefined;
    const size = examples.features.length / examples.count;
    for (let from = 0; from < examples.count; from += BATCH_ROWS) {
      if (cancelled()) throw new CancelledError("The evaluation");
      const to = Math.min(from + BATCH_ROWS, examples.count);
      const rows = Float32Array.from(examples.features.subarray(from * size, to * size) as Uint8Array);
      const feeds = { [input]: new ort.Tensor("float32", rows, [to - from, ...examples.featureShape]) };
      const given = (await nativeCall(() => session.run(feeds, [output])))[output]!;
      const outputs = assertScores(given, to - from, labelNames.length, from);
      tally ??= new ClassificationTally(classNames(labelNames, outputs));
      const probabilities = classProbabilities(given.data as Float32Array, outputs, scores);
      tally.add(probabilities, examples.labels.subarray(from, to));
    }
    return (tally ?? new ClassificationTally(labelNames)).result();
  } finally {
    await session.release();
  }
}

function endsOf(session: ort.InferenceSession, featureShape: readonly number[]) {
  const { inputs, outputs } = signatureOf(session);
  const [input, ...more] = inputs;
  if (!input || !outputs[0] || more.length > 0)
    throw new InvalidModelError(
      "model",
      `has inputs ${session.inputNames.join(", ")}; evaluation feeds exactly one`,
    );
  const [, ...sizes] = input.shape;
  const fits =
    sizes.length === featureShape.length && sizes.every((d, i) => d === -1 || d === featureShape[i]);
  if (!fits || input.datatype !== "FP32")
    throw new InvalidModelError(
      "model",
      `takes ${input.datatype} [${input.shape.join(",")}], expected FP32 [-1,${featureShape.join(",")}] as the examples are`,
    );
  return { input: input.name, output: outputs[0].name };
}

/** Gives how many outputs there are: a class each, or one for two classes. */
function assertScores(scores: ort.Tensor, rows: number, leastClasses: number, from: number): number {
  const [count, outputs = 0, ...more] = scores.dims;
  const classes = outputs === 1 ? 2 : outputs;
  if (scores.type !== "float32" || count !== rows || more.length > 0 || classes < leastClasses)
    throw new InvalidModelError(
      "model",
      `gives ${scores.type} [${scores.dims.join(",")}], expected float32 [${rows}, ${leastClasses} or more classes]`,
    );
  const wrong = (scores.data as Float32Array).findIndex((score) => !Number.isFinite(score));
  if (wrong >= 0)
    throw new InvalidModelError(
      "model",
      `gives ${(scores.data as Float32Array)[wrong]} for example ${from + Math.floor(wrong / outputs)}`,
    );
  return outputs;
}
