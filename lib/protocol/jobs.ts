/** Training jobs as the trainer stores and reports them. */

import type { ArtifactRef } from "../store/store.ts";
import type { Evaluation, Lineage } from "./models.ts";
import type { InitialWeightsRecord, InitialWeightsSpec } from "./weights.ts";

export const JOB_STATES = ["queued", "running", "succeeded", "failed", "cancelled"] as const;
export type JobState = (typeof JOB_STATES)[number];

export const JOB_STAGES = ["waiting", "training", "converting", "evaluating", "publishing", "done"] as const;
export type JobStage = (typeof JOB_STAGES)[number];

/** A class name and its options, as Keras serialises them: `{class_name: "Adam", config: {learning_rate: 0.001}}`. */
export type KerasObject = { class_name: string; config: Record<string, unknown> };

/** A loss by name, or with options as Keras serialises it. */
export type LossSpec = string | KerasObject;

/** What trains: ONNX Runtime, or TensorFlow.js, which has fewer layers, losses and options. */
export const ENGINES = ["onnx", "tfjs"] as const;
export type EngineName = (typeof ENGINES)[number];

/** What `trainer.start` accepts. */
export type TrainingSpec = {
  /** Registry name the result is published under. */
  model: string;
  /** Keras JSON (`model.to_json()`), parsed. */
  architecture: KerasObject;
  data: {
    /** A named data set: "mnist", or a folder under the data set directory. */
    dataset: string;
    /** Use only the first n examples. @default all */
    trainLimit?: number;
    testLimit?: number;
    /** Share of the training examples held out, drawn with the run's split stream. @default 0 */
    validationSplit?: number;
    /** Which column of the data feeds which input of the network. @default the one of the same name, or the only one */
    inputs?: Record<string, string>;
    /** Which column each output is compared with; a column that is fed may be (auto-encoders). @default likewise */
    targets?: Record<string, string>;
  };
  /** One for all outputs, a list in their order, or one by output name. */
  loss: LossSpec | LossSpec[] | Record<string, LossSpec>;
  /** How much each output's loss counts in the total. @default 1 */
  lossWeights?: number[] | Record<string, number>;
  /** How much examples of each class number count; for networks of one output. @default 1 */
  classWeights?: Record<string, number>;
  optimizer: KerasObject;
  /** @default "onnx" */
  engine?: EngineName;
  /** In the order in which they hear of an epoch. @default none */
  callbacks?: KerasObject[];
  /** @default 1 */
  epochs: number;
  /** @default 32 */
  batchSize: number;
  /** Root of every random stream of the run. @default 0 */
  seed: number;
  /** @default fresh ones, drawn by each layer's initialisers */
  initialWeights?: InitialWeightsSpec;
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
  accuracy?: number;
  outputs?: Record<string, OutputScore>;
  /** Of the next step. */
  learningRate: number;
  examplesPerSecond: number;
  secondsLeft: number;
};

/** How one of several outputs does; `accuracy` where it is compared with classes. */
export type OutputScore = { loss: number; accuracy?: number };

export type EpochRecord = {
  epoch: number;
  /** The total: of several outputs, their weighted sum. */
  loss: number;
  /** Of the only output, where it is compared with classes. */
  accuracy?: number;
  /** Each output, where there are several. */
  outputs?: Record<string, OutputScore>;
  validationLoss?: number;
  validationAccuracy?: number;
  validationOutputs?: Record<string, OutputScore>;
  /** As the epoch ends, before callbacks hear of it: the one they may change. */
  learningRate: number;
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
  /** The last 1000 epochs, or fewer of many outputs; the checkpoint has them all. */
  history: EpochRecord[];
  /** What its engine computes on; a package, for TensorFlow.js. */
  backend?: string;
  /** What its training started from, when that is not fresh weights. */
  initialWeights?: InitialWeightsRecord;
  /** While it trains: where another attempt goes on, newest first. */
  checkpoints?: JobCheckpoint[];
  /** Set once training is done: a later attempt goes on from here. */
  trained?: {
    checkpoint: ArtifactRef;
    dataset: Lineage["dataset"];
    trainSeconds: number;
    /** What its engine computed on. */
    backend?: string;
    initialWeights?: InitialWeightsRecord;
  };
  result?: {
    model: string;
    version: number;
    evaluation: Evaluation;
    trainSeconds: number;
    promoted: boolean;
    /** Why it was promoted, or was not. */
    promotionReason?: string;
  };
  error?: { type: string; message: string; data?: unknown };
};
