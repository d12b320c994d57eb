/** Events: facts in the past tense, broadcast to every node. */

import type { EpochRecord, Job, JobStage, TrainingProgress } from "./jobs.ts";

export interface Events {
  "training.queued": { id: string };
  "training.started": { id: string; attempt: number };
  "training.progressed": { id: string; progress: TrainingProgress };
  "training.epochCompleted": { id: string; epoch: EpochRecord };
  "training.stageChanged": { id: string; stage: JobStage };
  /** The job reached succeeded, failed or cancelled; carries its final record. */
  "training.ended": { id: string; job: Job };
  "training.cancelRequested": { id: string };
  "model.published": { model: string; version: number };
  "model.aliasMoved": { model: string; alias: string; version: number };
  /** How it is served, or whether, was set. */
  "model.configured": { model: string };
  /** A canary or a shadow was set, changed or ended. */
  "model.rolledOut": { model: string };
  /** A canary was taken back: production answers alone again. */
  "model.rolledBack": { model: string; version: number; reason: string };
  /** A node finished loading (or failed to load) a version. */
  "model.loaded": { model: string; version: string; nodeID: string };
  "model.loadFailed": { model: string; version: string; nodeID: string; reason: string };
}

export type EventName = keyof Events;
export type Emit = <E extends EventName>(event: E, payload: Events[E]) => void;
