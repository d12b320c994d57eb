/** The rollouts of the models on one node: begun, followed and ended as the models' records say. */

import type { PredictRequest } from "../protocol/inference.ts";
import { PRODUCTION_ALIAS } from "../protocol/models.ts";
import { type RolloutOptions, ServedRollout } from "./rollout.ts";
import type { ServedModel } from "./served-model.ts";

export class Rollouts {
  readonly #options: RolloutOptions;
  readonly #rollouts = new Map<string, ServedRollout>();

  constructor(options: RolloutOptions) {
    this.#options = options;
  }

  /** Brings a model's rollout in line with its record and with what of it is loaded. */
  follow(model: ServedModel): void {
    const { model: name, rollout: record } = model.record;
    if (this.#rollouts.get(name)?.follow()) return;
    this.forget(name);
    if (!record) return;
    const rollout = new ServedRollout(model, record, this.#options);
    this.#rollouts.set(name, rollout);
    rollout.follow();
  }

  of(model: string): ServedRollout | undefined {
    return this.#rollouts.get(model);
  }

  /** The rollout that a request takes part in: one that names a number or another alias gets what it names. */
  sharing({ model, version }: PredictRequest): ServedRollout | undefined {
    return version === undefined || version === PRODUCTION_ALIAS ? this.#rollouts.get(model) : undefined;
  }

  forget(model: string): void {
    this.#rollouts.get(model)?.close();
    this.#rollouts.delete(model);
  }

  close(): void {
    for (const model of [...this.#rollouts.keys()]) this.forget(model);
  }
}
