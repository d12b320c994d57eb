/** Training jobs as the trainer stores and reports them. */

import type { ArtifactRef } from "../store/store.ts";
import type { Evaluation, Lineage } from "./models.ts";

export const JOB_STATES = ["queued", "running", "succeeded", "failed", "cancelled"] as const;
export type JobState = (typeof JOB_STATES)[number];

export const JOB_STAGES = ["waiting", "training", "converting", "evaluating", "publishing", "done"] as const;
export type JobStage = (typeof JOB_STAGES)[number];

/** A class name and its options, as Keras serialises them: `{class_name: "Adam", config: {learning_rate: 0.001}}`. */
export type KerasObject = { class_name: string; config: Record<string, unknown> };

/** What `trainer.start` accepts. */
export type TrainingSpec = {
  /** Registry name the result is published under. */
  model: string;
  /** Keras JSON (`model.to_json()`), parsed. */
  architecture: KerasObject;
  data: {
    /** A named data set: "mnist", or a folder of IDX files under the data set directory. */
    dataset: string;
    /** Use only the first n examples. @default all */
    trainLimit?: number;
    testLimit?: number;
    /** Share of the training examples held out, drawn with the run's split stream. @default 0 */
    validationSplit?: number;
  };
  /** By name, or with options as Keras serialises it. */
  loss: string | KerasObject;
  optimizer: KerasObject;
  /** @default 1 */
  epochs: number;
  /** @default 32 */
  batchSize: number;
  /** Root of every random stream of the run. @default 0 */
  seed: number;
  /** Most seconds of training that are lost when a trainer dies. @default 10 */
  checkpointSeconds?: number;
  /** Move the `production` alias to the new version when it scores no worse. @default true */
  promote: boolean;
};

export type TrainingProgress = {
  /** From 1. */
  epoch: number;
  epochs: number;
  step: number;
  stepsPerEpoch: number;
  /** Means over the epoch so far. */
  loss: number;
  accuracy: number;
  examplesPerSecond: number;
  secondsLeft: number;
};

export type EpochRecord = {
  epoch: number;
  loss: number;
  accuracy: number;
  validationLoss?: number;
  validationAccuracy?: number;
  seconds: number;
};

/** A run in the middle, stored. */
export type JobCheckpoint = ArtifactRef & {
  /** The epoch under way, and the steps done in all. */
  epoch: number;
  step: number;
};

export type Job = {
  id: string;
  state: JobState;
  stage: JobStage;
  spec: TrainingSpec;
  createdAt: string;
  startedAt?: string;
  finishedAt?: string;
  /** Node that holds the lease, and until when (epoch milliseconds). */
  owner?: string;
  leaseExpiresAt?: number;
  attempts: number;
  /** Attempts since the job last came further, the one under way included: three of them are too many. */
  fruitlessAttempts?: number;
  cancelRequested: boolean;
  progress?: TrainingProgress;
  /** The last 1000 epochs; the checkpoint has them all. */
  history: EpochRecord[];
  /** While it trains: where another attempt goes on, newest first. */
  checkpoints?: JobCheckpoint[];
  /** Set once training is done: a later attempt goes on from here. */
  trained?: { checkpoint: ArtifactRef; dataset: Lineage["dataset"]; trainSeconds: number };
  result?: {
    model: string;
    version: number;
    evaluation: Evaluation;
    trainSeconds: number;
    promoted: boolean;
  };
  error?: { type: string; message: string; data?: unknown };
};
