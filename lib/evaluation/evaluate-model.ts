/** Scores a served ONNX classifier on labelled examples: what is measured is the very file that will answer. */

import * as ort from "onnxruntime-node";
import type { Examples } from "../data/examples.ts";
import { InvalidModelError } from "../errors.ts";
import { ClassificationTally } from "../metrics/classification.ts";
import type { Evaluation } from "../protocol/models.ts";
import { nativeCall } from "../runtime/native-call.ts";

const BATCH_ROWS = 256;

/** @throws {InvalidModelError} when the model does not take the examples or gives no [batch, classes] */
export async function evaluateModel(
  model: Uint8Array,
  examples: Examples,
  labelNames: readonly string[],
): Promise<Evaluation> {
  const session = await nativeCall(() => ort.InferenceSession.create(model, { logSeverityLevel: 3 }));
  try {
    const [input, ...more] = session.inputNames;
    const output = session.outputNames[0];
    if (!input || !output || more.length > 0)
      throw new InvalidModelError(
        "model",
        `has inputs ${session.inputNames.join(", ")}; evaluation feeds exactly one`,
      );
    const tally = new ClassificationTally(labelNames);
    const size = examples.features.length / examples.count;
    for (let from = 0; from < examples.count; from += BATCH_ROWS) {
      const to = Math.min(from + BATCH_ROWS, examples.count);
      const rows = Float32Array.from(examples.features.subarray(from * size, to * size) as Uint8Array);
      const feeds = { [input]: new ort.Tensor("float32", rows, [to - from, ...examples.featureShape]) };
      const scores = (await nativeCall(() => session.run(feeds, [output])))[output]!;
      if (scores.dims.length !== 2 || scores.dims[1] !== labelNames.length)
        throw new InvalidModelError(
          "model",
          `gives [${scores.dims.join(",")}], expected [batch, ${labelNames.length}]`,
        );
      tally.add(scores.data as Float32Array, examples.labels.subarray(from, to));
    }
    return tally.result();
  } finally {
    await session.release();
  }
}
