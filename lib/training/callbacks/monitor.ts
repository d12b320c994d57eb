/**
 * The options `monitor`, `mode` and `min_delta` of Keras's callbacks, and what they call an improvement. `auto` means
 * the most for an accuracy and the least for a loss. Compares in single precision, as Keras does.
 */

import type { ConfigReader } from "../../nn/config-reader.ts";
import type { Logs } from "./callback.ts";

export type Monitor = {
  name: string;
  /** The epoch's figure. */
  of(logs: Logs): number;
  /** Whether a value is better than another by more than `min_delta`; anything is better than none. */
  improves(value: number, reference: number | null): boolean;
};

/** @throws {InvalidModelError} */
export function monitorOf(config: ConfigReader, minDelta: number): Monitor {
  const name = config.raw("monitor") ?? "val_loss";
  if (typeof name !== "string") return config.refuse("monitor", name, 'a name such as "val_loss"');
  const mode = config.choice("mode", ["auto", "min", "max"], "auto");
  const most = mode === "max" || (mode === "auto" && name.endsWith("accuracy"));
  const least = Math.abs(minDelta);
  return {
    name,
    of: (logs) => logs[name]!,
    improves(value, reference) {
      if (reference === null) return true;
      const limit = Math.fround(reference);
      return most ? Math.fround(value - least) > limit : Math.fround(value + least) < limit;
    },
  };
}
