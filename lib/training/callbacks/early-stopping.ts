/** Keras's EarlyStopping: stops once a figure has not improved for `patience` epochs (keras.io/api/callbacks). */

import type { CallbackDefinition } from "./callback.ts";
import { monitorOf } from "./monitor.ts";

export const earlyStopping: CallbackDefinition = (config) => {
  const monitor = monitorOf(config, config.number("min_delta", { fallback: 0 }));
  const patience = config.integer("patience", { fallback: 0, min: 0 });
  const baseline = config.optionalNumber("baseline", {});
  const restoresKept = config.boolean("restore_best_weights", false);
  const startFrom = config.integer("start_from_epoch", { fallback: 0, min: 0 });
  let best: number | null = null;
  let wait = 0;

  return {
    monitor: monitor.name,
    restoresKept,
    setsRate: false,
    epochEnded(epoch, logs, control) {
      if (epoch <= startFrom) return;
      const value = monitor.of(logs);
      wait++;
      if (monitor.improves(value, best)) {
        best = value;
        if (restoresKept) control.keepWeights();
        if (baseline === undefined || monitor.improves(value, baseline)) wait = 0;
      } else if (wait >= patience && epoch > 1) control.stop();
    },
    state: () => ({ best, wait }),
    restore(state) {
      best = state.best ?? null;
      wait = state.wait ?? 0;
    },
  };
};
