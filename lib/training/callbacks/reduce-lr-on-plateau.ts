/**
 * Keras's ReduceLROnPlateau: multiplies the learning rate by `factor` once a figure has not improved for `patience`
 * epochs (keras.io/api/callbacks). The rate is held in single precision, as Keras holds it.
 */

import type { CallbackDefinition } from "./callback.ts";
import { monitorOf } from "./monitor.ts";

export const reduceLrOnPlateau: CallbackDefinition = (config) => {
  const monitor = monitorOf(config, config.number("min_delta", { fallback: 1e-4 }));
  const factor = config.number("factor", { fallback: 0.1, min: 0, below: 1 });
  const patience = config.integer("patience", { fallback: 10, min: 0 });
  const cooldown = config.integer("cooldown", { fallback: 0, min: 0 });
  const minRate = config.number("min_lr", { fallback: 0, min: 0 });
  let best: number | null = null;
  let wait = 0;
  let cooling = 0;

  return {
    monitor: monitor.name,
    restoresKept: false,
    setsRate: true,
    epochEnded(_epoch, logs, control) {
      const value = monitor.of(logs);
      if (cooling > 0) {
        cooling--;
        wait = 0;
      }
      if (monitor.improves(value, best)) {
        best = value;
        wait = 0;
        return;
      }
      if (cooling > 0 || ++wait < patience) return;
      const rate = Math.fround(control.learningRate());
      if (rate <= Math.fround(minRate)) return;
      control.setLearningRate(Math.fround(Math.max(rate * factor, minRate)));
      cooling = cooldown;
      wait = 0;
    },
    state: () => ({ best, wait, cooling }),
    restore(state) {
      best = state.best ?? null;
      wait = state.wait ?? 0;
      cooling = state.cooling ?? 0;
    },
  };
};
