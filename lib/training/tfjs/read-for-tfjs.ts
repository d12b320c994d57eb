/** What TensorFlow.js is to be given of a training specification; what it cannot train is refused by name. */

import { parseNetwork } from "../../nn/network.ts";
import type { TrainingSpec } from "../../protocol/jobs.ts";
import { firstLoss } from "../read-objective.ts";
import { type TfjsLoss, tfjsLossOf } from "./losses.ts";
import { type TfjsOptimizer, tfjsOptimizerOf } from "./optimizers.ts";
import { type TranslatedModel, translateModel } from "./translate-model.ts";

export type TfjsSpec = Pick<TrainingSpec, "architecture" | "loss" | "optimizer" | "seed">;

export type ReadForTfjs = TranslatedModel & { losses: TfjsLoss[]; optimizer: TfjsOptimizer };

/** Loads nothing: for a specification that has been read already. @throws {InvalidModelError} {UnknownComponentError} */
export function readForTfjs(spec: TfjsSpec): ReadForTfjs {
  const names = parseNetwork(spec.architecture).outputs.map(({ name }) => name);
  return {
    ...translateModel(spec.architecture),
    losses: names.map((name, i) =>
      tfjsLossOf(Array.isArray(spec.loss) ? spec.loss[i] : firstLoss(spec.loss, name)),
    ),
    optimizer: tfjsOptimizerOf(spec.optimizer),
  };
}
