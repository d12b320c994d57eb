/** Every loss, by its Keras name. */

import { lookUp } from "../config-reader.ts";
import { crossEntropy } from "./cross-entropy.ts";
import type { Loss } from "./loss.ts";
import { meanSquaredError } from "./mean-squared-error.ts";

export const LOSSES: Readonly<Record<string, Loss>> = {
  sparse_categorical_crossentropy: crossEntropy,
  categorical_crossentropy: crossEntropy,
  mean_squared_error: meanSquaredError,
  mse: meanSquaredError,
};

/** @throws {UnknownComponentError} with the nearest known loss */
export function lossOf(name: string): Loss {
  return lookUp(LOSSES, "loss", name);
}
