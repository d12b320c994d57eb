/**
 * All that a training run is at a moment between two steps: a run of the same specification on the same data that is
 * set to it goes on as if it had never stopped, to the bit.
 */

import type { EpochRecord } from "../protocol/jobs.ts";
import type { StreamState } from "../random/stream.ts";
import type { CallbacksSnapshot } from "./callbacks/callback-list.ts";
import { noSums, type Sums } from "./measures.ts";
import type { TrainedState } from "./state-buffers.ts";

/** Where in the epochs a run is, and what it has summed up in the epoch under way. */
export type RunCursor = {
  /** The epoch under way, from 1; one more than there are once all are done. */
  epoch: number;
  /** Steps done in it; all of them while it is validated. */
  step: number;
  /** Sums over the examples trained on in it. */
  sums: Sums;
  /** The shuffle stream as the epoch began: it gives the order of the epoch's rows again. */
  shuffle: StreamState;
  /** Time spent in the epoch, and in all of them. */
  epochSeconds: number;
  trainSeconds: number;
};

export type RunSnapshot = {
  state: TrainedState;
  cursor: RunCursor;
  /** The stream that the random tensors of each step are drawn from. */
  dropout: StreamState;
  history: EpochRecord[];
  callbacks: CallbacksSnapshot;
  /** The learning rate that a callback has set. */
  changedRate: number | null;
};

export function epochBegin(epoch: number, shuffle: StreamState, trainSeconds: number): RunCursor {
  return {
    epoch,
    step: 0,
    sums: noSums(),
    shuffle,
    epochSeconds: 0,
    trainSeconds,
  };
}
