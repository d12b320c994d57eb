/**
 * The loss that a step of TensorFlow.js minimises, and what it reports, as objective.ts has them for ONNX Runtime: the
 * weighted sum of the outputs' losses, and three numbers for each output.
 */

import type * as Core from "@tensorflow/tfjs-core";
import type { OutputObjective } from "../objective.ts";
import type { Tfjs } from "./load-tfjs.ts";
import { outputOf, type TfjsLoss, type TfjsOutput } from "./losses.ts";

type Tensor = Core.Tensor;

export type TfjsTarget = {
  /** INT32 [batch, ...positions], or FP32 of the output's shape or one for each position. */
  values: Tensor;
  isClasses: boolean;
};

export type Fed = { targets: readonly TfjsTarget[]; exampleWeights: Tensor | undefined; training: boolean };

export type MeasuredLoss = {
  /** [] */
  loss: Tensor;
  /** Three numbers for each output. */
  measures: Tensor;
};

export function measure(
  tf: Tfjs,
  objective: readonly OutputObjective[],
  losses: readonly TfjsLoss[],
  outputs: readonly TfjsOutput[],
  { targets, exampleWeights, training }: Fed,
): MeasuredLoss {
  const measures: Tensor[] = [];
  const shares: Tensor[] = [];
  for (const [i, output] of outputs.entries()) {
    const { weight, classWeights, loss } = objective[i]!;
    const target = targets[i]!;
    let positions = losses[i]!(tf, output, asOutput(tf, output, target));
    if (exampleWeights) positions = tf.mul(positions, overPositions(tf, exampleWeights, positions));
    if (training && classWeights)
      positions = tf.mul(
        positions,
        tf.gather(tf.tensor1d([...classWeights]), tf.cast(target.values, "int32")),
      );
    const mean = tf.mean(positions);
    shares.push(weight === 1 ? mean : tf.mul(mean, weight));
    measures.push(
      mean,
      countRight(tf, output, target, loss.scores),
      tf.scalar(target.values.shape.reduce((a, b) => a * b, 1)),
    );
  }
  return { loss: tf.addN(shares), measures: tf.stack(measures) };
}

/** What the output should be, in its shape: values as they are, classes one-hot, or the class number of one output. */
function asOutput(tf: Tfjs, { scores }: TfjsOutput, { values, isClasses }: TfjsTarget): Tensor {
  const outputs = scores.shape.at(-1)!;
  if (isClasses && outputs > 1) return tf.oneHot(tf.cast(values, "int32"), outputs, 1, 0, "float32");
  const floats = tf.cast(values, "float32");
  return floats.rank === scores.rank ? floats : tf.expandDims(floats, -1);
}

function overPositions(tf: Tfjs, weights: Tensor, { rank }: Tensor): Tensor {
  return tf.reshape(weights, [-1, ...new Array<number>(rank - 1).fill(1)]);
}

/** How many positions give their largest score to the class; one output is high for the second class. */
function countRight(
  tf: Tfjs,
  output: TfjsOutput,
  target: TfjsTarget,
  kind: "probabilities" | "logits",
): Tensor {
  if (!target.isClasses) return tf.scalar(0);
  const { scores } = output;
  const best =
    scores.shape.at(-1) === 1
      ? tf.squeeze(tf.greater(outputOf(tf, output), kind === "logits" ? 0 : 0.5), [scores.rank - 1])
      : tf.argMax(scores, -1);
  const hits = tf.equal(tf.cast(best, "int32"), tf.cast(target.values, "int32"));
  return tf.sum(tf.cast(hits, "float32"));
}
