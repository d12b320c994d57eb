/** Every loss, by its Keras name. */

import { ConfigReader, kerasObject, lookUp } from "../config-reader.ts";
import { binaryCrossEntropy, binaryFocalCrossEntropy } from "./binary-cross-entropy.ts";
import {
  categoricalCrossEntropy,
  categoricalFocalCrossEntropy,
  sparseCategoricalCrossEntropy,
} from "./cross-entropy.ts";
import { cosineSimilarity, klDivergence, poisson } from "./divergence.ts";
import { categoricalHinge, hinge, squaredHinge } from "./hinge.ts";
import type { Loss, LossDefinition } from "./loss.ts";
import { huber, logCosh, meanAbsoluteError, meanSquaredError } from "./regression.ts";

export const LOSSES: Readonly<Record<string, LossDefinition>> = {
  sparse_categorical_crossentropy: sparseCategoricalCrossEntropy,
  categorical_crossentropy: categoricalCrossEntropy,
  binary_crossentropy: binaryCrossEntropy,
  categorical_focal_crossentropy: categoricalFocalCrossEntropy,
  binary_focal_crossentropy: binaryFocalCrossEntropy,
  mean_squared_error: meanSquaredError,
  mse: meanSquaredError,
  mean_absolute_error: meanAbsoluteError,
  mae: meanAbsoluteError,
  huber,
  log_cosh: logCosh,
  kl_divergence: klDivergence,
  kld: klDivergence,
  hinge,
  squared_hinge: squaredHinge,
  categorical_hinge: categoricalHinge,
  cosine_similarity: cosineSimilarity,
  poisson,
};

/** Keras's names for the mean over the batch; any other reduction would train something else. */
const MEAN = ["sum_over_batch_size", "mean", "auto"] as const;

/**
 * Reads a loss by name or as `{class_name: "BinaryCrossentropy", config: {from_logits: true}}`.
 * @throws {UnknownComponentError} with the nearest known loss {InvalidModelError} for an option it does not have
 */
export function lossOf(value: unknown): Loss {
  const object = kerasObject(value, "loss");
  const definition = lookUp(LOSSES, "loss", object.class_name);
  const config = new ConfigReader("loss", object.config);
  const loss = definition(config);
  config.choice("reduction", MEAN, "sum_over_batch_size");
  config.ignore("name");
  config.done();
  return loss;
}
