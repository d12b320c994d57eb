/**
 * Losses in TensorFlow.js, by their Keras names, as lib/nn/losses has them: each gives the loss of every position,
 * [batch, ...positions], of which the weighted mean is taken outside. Refused: losses and options that are not here.
 * To add one: an entry, and a case in tfjs-engine.test.ts.
 */

import type * as Core from "@tensorflow/tfjs-core";
import { InvalidModelError, UnknownComponentError } from "../../errors.ts";
import { ConfigReader, kerasObject, lookUp } from "../../nn/config-reader.ts";
import { LOSSES } from "../../nn/losses/table.ts";
import { nearest } from "../../nn/nearest.ts";
import type { Tfjs } from "./load-tfjs.ts";
import type { LastActivation } from "./translate-model.ts";

type Tensor = Core.Tensor;

/** An output of the network: its scores, and what they go through at last. */
export type TfjsOutput = { scores: Tensor; activation: LastActivation | undefined };

/** `target`: FP32 of the output's shape. */
export type TfjsLoss = (tf: Tfjs, output: TfjsOutput, target: Tensor) => Tensor;

const EPSILON = 1e-7;

/** The output as the network gives it. */
export function outputOf(tf: Tfjs, { scores, activation }: TfjsOutput): Tensor {
  if (activation === undefined) return scores;
  return activation === "softmax" ? tf.softmax(scores) : tf.sigmoid(scores);
}

type Definition = (config: ConfigReader) => TfjsLoss;

/** A loss of each output on its own, averaged over the outputs of a position. */
const elementwise =
  (of: (tf: Tfjs, output: Tensor, target: Tensor) => Tensor): TfjsLoss =>
  (tf, output, target) =>
    tf.mean(of(tf, outputOf(tf, output), target), -1);

const mse: Definition = () => elementwise((tf, output, target) => tf.square(tf.sub(output, target)));
const mae: Definition = () => elementwise((tf, output, target) => tf.abs(tf.sub(output, target)));

function smoothed(tf: Tfjs, target: Tensor, share: number, level: number): Tensor {
  return share === 0 ? target : tf.add(tf.mul(target, 1 - share), share * level);
}

function crossEntropy(fromLogits: boolean, smoothing: number): TfjsLoss {
  return (tf, output, target) => {
    const { scores, activation } = output;
    const classes = scores.shape.at(-1)!;
    const exact = fromLogits || activation === "softmax";
    const logs = tf.logSoftmax(exact ? scores : logShares(tf, outputOf(tf, output)));
    return tf.neg(tf.sum(tf.mul(smoothed(tf, target, smoothing, 1 / classes), logs), -1));
  };
}

/** Logarithms of shares that need not add up to one. */
function logShares(tf: Tfjs, output: Tensor): Tensor {
  return tf.log(tf.clipByValue(tf.div(output, tf.sum(output, -1, true)), EPSILON, 1 - EPSILON));
}

function binary(fromLogits: boolean, smoothing: number): TfjsLoss {
  return (tf, output, given) => {
    const target = smoothed(tf, given, smoothing, 0.5);
    const { scores, activation } = output;
    const both = (yes: Tensor, no: Tensor) =>
      tf.neg(tf.mean(tf.add(tf.mul(target, yes), tf.mul(tf.sub(1, target), no)), -1));
    if (fromLogits || activation === "sigmoid")
      return both(tf.neg(tf.softplus(tf.neg(scores))), tf.neg(tf.softplus(scores)));
    const share = tf.clipByValue(outputOf(tf, output), EPSILON, 1 - EPSILON);
    return both(tf.log(share), tf.log(tf.sub(1, share)));
  };
}

const fromLogitsOf = (config: ConfigReader) => {
  config.unset("axis", -1);
  return config.boolean("from_logits", false);
};
const smoothingOf = (config: ConfigReader) =>
  config.number("label_smoothing", { fallback: 0, min: 0, max: 1 });

export const TFJS_LOSSES: Readonly<Record<string, Definition>> = {
  sparse_categorical_crossentropy: (c) => {
    c.unset("ignore_class");
    return crossEntropy(fromLogitsOf(c), 0);
  },
  categorical_crossentropy: (c) => crossEntropy(fromLogitsOf(c), smoothingOf(c)),
  binary_crossentropy: (c) => binary(fromLogitsOf(c), smoothingOf(c)),
  mean_squared_error: mse,
  mse,
  mean_absolute_error: mae,
  mae,
  huber: (c) => {
    const delta = c.number("delta", { fallback: 1, min: 0 });
    return elementwise((tf, output, target) => {
      // Without a comparison, which TensorFlow.js cannot differentiate through.
      const size = tf.abs(tf.sub(output, target));
      const within = tf.minimum(size, delta);
      return tf.add(tf.mul(tf.square(within), 0.5), tf.mul(tf.sub(size, within), delta));
    });
  },
  log_cosh: () =>
    elementwise((tf, output, target) => {
      const size = tf.abs(tf.sub(output, target));
      return tf.sub(tf.add(size, tf.softplus(tf.mul(size, -2))), Math.LN2);
    }),
  categorical_hinge: () => (tf, given, target) => {
    const output = outputOf(tf, given);
    const own = tf.sum(tf.mul(target, output), -1);
    const best = tf.max(tf.mul(tf.sub(1, target), output), -1);
    return tf.maximum(tf.add(tf.sub(best, own), 1), 0);
  },
};

/** Reads a loss that lossOf has read already. @throws {UnknownComponentError} {InvalidModelError} */
export function tfjsLossOf(value: unknown): TfjsLoss {
  const object = kerasObject(value, "loss");
  const known = Object.keys(TFJS_LOSSES);
  const plain = (name: string) => name.toLowerCase().replaceAll("_", "");
  if (!known.some((name) => plain(name) === plain(object.class_name))) {
    lookUp(LOSSES, "loss", object.class_name);
    throw new UnknownComponentError(
      'loss of the engine "tfjs" (engine "onnx" has it)',
      object.class_name,
      nearest(object.class_name, known),
      known,
    );
  }
  const config = new ConfigReader("loss", object.config);
  try {
    const loss = lookUp(TFJS_LOSSES, "loss", object.class_name)(config);
    config.ignore("name", "reduction");
    config.done();
    return loss;
  } catch (error) {
    if (!(error instanceof InvalidModelError)) throw error;
    throw new InvalidModelError('loss of the engine "tfjs"', `${error.message}; engine "onnx" has it`);
  }
}
