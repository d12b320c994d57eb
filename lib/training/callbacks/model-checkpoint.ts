/**
 * Keras's ModelCheckpoint, as what is published: with `save_best_only` the weights of the best epoch, else those of
 * the last (keras.io/api/callbacks). Where Keras would put a file, and how much of the model into it, is read past.
 */

import type { CallbackDefinition } from "./callback.ts";
import { monitorOf } from "./monitor.ts";

export const modelCheckpoint: CallbackDefinition = (config) => {
  const monitor = monitorOf(config, 0);
  const bestOnly = config.boolean("save_best_only", false);
  const threshold = config.optionalNumber("initial_value_threshold", {});
  config.ignore("filepath", "save_weights_only");
  config.unset("save_freq", "epoch");
  let best: number | null = threshold ?? null;

  return {
    ...(bestOnly ? { monitor: monitor.name } : {}),
    restoresKept: bestOnly,
    setsRate: false,
    epochEnded(_epoch, logs, control) {
      if (!bestOnly) return;
      const value = monitor.of(logs);
      if (!monitor.improves(value, best)) return;
      best = value;
      control.keepWeights();
    },
    state: () => ({ best }),
    restore(state) {
      best = state.best ?? null;
    },
  };
};
