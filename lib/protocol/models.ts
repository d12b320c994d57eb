/** Registry vocabulary: models, immutable versions, aliases, lineage. Wire data, safe to send between nodes. */

import type { ArtifactRef } from "../store/store.ts";
import type { TensorSpec } from "../tensor/tensor.ts";
import type { ModelConfiguration } from "./model-configuration.ts";
import type { InitialWeightsRecord } from "./weights.ts";

export type ModelSignature = { inputs: TensorSpec[]; outputs: TensorSpec[] };

/** What a classifier gives per class: probabilities, or scores that softmax or, for one output, sigmoid makes such. */
export type OutputScores = "probabilities" | "logits";

/**
 * An output compared with classes. Confusion matrix rows are the true class, columns the predicted one. Of very many
 * classes the matrix is empty, and then `perClass` too, so that the scores fit a record.
 */
export type ClassificationScores = {
  kind: "classification";
  examples: number;
  /** Mean negative log probability of the true class. */
  loss: number;
  accuracy: number;
  macro: { precision: number; recall: number; f1: number };
  perClass: { label: string; precision: number; recall: number; f1: number; support: number }[];
  confusionMatrix: number[][];
};

/** An output compared with values, over all of its elements. */
export type RegressionScores = {
  kind: "regression";
  examples: number;
  /** Mean squared error. */
  loss: number;
  /** Mean absolute error. */
  mae: number;
  rmse: number;
  /** 1 - squared errors / squared distances from the mean; null where all targets are the same. */
  r2: number | null;
};

export type OutputEvaluation = ClassificationScores | RegressionScores;

/** Scores on a test set: of the first output, and of each where there are several. */
export type Evaluation = OutputEvaluation & { outputs?: Record<string, OutputEvaluation> };

/** Where a version came from: enough to repeat it. */
export type Lineage = {
  jobId: string;
  dataset: {
    name: string;
    digest: string;
    trainExamples: number;
    validationExamples: number;
    testExamples: number;
  };
  /** What of the data set was asked for: limits, split, columns. */
  data?: unknown;
  seed: number;
  engine: string;
  /** What the engine computed on: "cpu", "cuda", a package of TensorFlow.js. */
  backend?: string;
  codeVersion: string;
  architecture: unknown;
  loss: unknown;
  /** Undefined: all count the same. */
  lossWeights?: unknown;
  classWeights?: unknown;
  optimizer: unknown;
  /** Undefined: none. */
  callbacks?: unknown;
  /** Asked for; a callback may have stopped earlier. */
  epochs: number;
  batchSize: number;
  trainSeconds: number;
  /** Where training started from; undefined: fresh weights. */
  initialWeights?: InitialWeightsRecord;
  /** Converted graph against training graph, on real examples. */
  parity: { examples: number; maxAbsError: number; tolerance: number };
};

export type ModelVersion = {
  model: string;
  /** 1, 2, 3 … */
  version: number;
  createdAt: string;
  /** What inference loads: a model, or the specification of an ensemble as JSON. @default "onnx" */
  format?: "onnx" | "ensemble";
  /** `onnx` is what inference loads; `checkpoint` is the trained state it was converted from. */
  artifacts: { onnx: ArtifactRef; checkpoint?: ArtifactRef };
  signature: ModelSignature;
  /**
   * Class names, by index of the last output dimension. Two for one output that is the probability of the second;
   * none for one output that is a raw score.
   */
  labels: string[];
  metrics?: Evaluation;
  lineage?: Lineage;
};

/** A version that takes part of the production version's traffic, until it is promoted or rolled back. */
export type Canary = {
  version: number;
  /** Part of the requests, above 0 to 1. Those with an affinity key stay with what the key has drawn. */
  weight: number;
  /** Crossing one of them rolls the canary back. */
  bounds?: {
    /** Most of its requests that may fail, 0 to 1, for reasons that are not the client's. */
    errorRate?: number;
    /** Its 95th percentile of latency as a multiple of the production version's, over the same time. */
    latencyRatio?: number;
    /** Requests to see before anything is judged. @default 50 */
    minRequests?: number;
  };
};

/** A version that is sent copies of the production version's requests; its answers are compared, never given. */
export type Shadow = {
  version: number;
  /** Part of the requests that are copied, above 0 to 1. @default 1 */
  share?: number;
  /** Largest difference of an output's elements that counts as the same answer. @default 1e-5 */
  tolerance?: number;
};

export type Rollout = { canary?: Canary; shadow?: Shadow };

/** A rollout as the registry keeps it: set anew, it is judged anew. */
export type RolloutRecord = Rollout & { startedAt: string };

/** A canary that was taken back, by a node or by someone. */
export type RollBack = { version: number; at: string; reason: string };

export type ModelRecord = {
  model: string;
  createdAt: string;
  versions: number[];
  latestVersion: number;
  /** `production` is what answers requests that name no version. */
  aliases: Record<string, number>;
  /** How it is served; undefined: as each node does by default. */
  configuration?: ModelConfiguration;
  /** How requests that name no version, or `production`, are shared with others; undefined: they are not. */
  rollout?: RolloutRecord | undefined;
  /** The last canaries that were taken back, oldest first. */
  rollbacks?: RollBack[];
  /** Whether it has been taken out of service, by name, on every node. */
  unloaded?: boolean;
};

export const PRODUCTION_ALIAS = "production";
