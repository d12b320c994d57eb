/**
 * What a callback is: it hears each epoch's figures under Keras's names and may change the learning rate, stop the run
 * or have it keep its weights. All it knows between epochs is plain data, so that a run can be stored and gone on with.
 */

import type { ConfigReader } from "../../nn/config-reader.ts";

/** An epoch's figures: `loss`, `accuracy`, `val_loss`, `val_accuracy`, and `<output>_loss` … of several outputs. */
export type Logs = Readonly<Record<string, number>>;

export type RunControl = {
  learningRate(): number;
  setLearningRate(rate: number): void;
  /** Ends the run after this epoch. */
  stop(): void;
  /** Keeps the weights as they are, instead of those kept before. */
  keepWeights(): void;
};

export type CallbackState = Record<string, number | null>;

export interface Callback {
  /** The figure it goes by; every epoch must have it. */
  readonly monitor?: string;
  /** Whether a run that has ended takes the weights that were kept for its own. */
  readonly restoresKept: boolean;
  /** Whether it sets the learning rate, which must then be a number. */
  readonly setsRate: boolean;
  /** `epoch` is counted from 1. */
  epochEnded(epoch: number, logs: Logs, control: RunControl): void;
  /** A copy. */
  state(): CallbackState;
  restore(state: CallbackState): void;
}

/** Reads a callback's options. @throws {InvalidModelError} */
export type CallbackDefinition = (config: ConfigReader) => Callback;
