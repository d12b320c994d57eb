/** Keras's TerminateOnNaN: every run ends at a loss that is no number, so that there is nothing left to do. */

import type { CallbackDefinition } from "./callback.ts";

export const terminateOnNan: CallbackDefinition = () => ({
  restoresKept: false,
  setsRate: false,
  epochEnded: () => {},
  state: () => ({}),
  restore: () => {},
});
