/**
 * Every action services call on one another, with its parameters and result: the one place to look up who says
 * what to whom. `Call` types `broker.call` and `ctx.call` with it.
 */

import type { ArtifactRef } from "../store/store.ts";
import type { Ensemble } from "./ensembles.ts";
import type { ModelMetadata, PredictRequest, PredictResponse, Readiness, VersionState } from "./inference.ts";
import type { Job, JobState, TrainingSpec } from "./jobs.ts";
import type { ModelConfiguration } from "./model-configuration.ts";
import type {
  Evaluation,
  Lineage,
  ModelRecord,
  ModelSignature,
  ModelVersion,
  OutputScores,
  Rollout,
} from "./models.ts";
import type { FolderReport } from "./repository.ts";
import type { RolloutReport } from "./rollout.ts";
import type { ModelStatistics } from "./statistics.ts";

/** Test examples; `inputs` and `targets` name columns by input or output, where their names differ. */
export type DatasetSelection = {
  dataset: string;
  testLimit?: number;
  inputs?: Record<string, string>;
  targets?: Record<string, string>;
};

export interface Actions {
  "registry.list": { params: Record<string, never>; result: ModelRecord[] };
  "registry.get": { params: { model: string }; result: ModelRecord };
  "registry.version": { params: { model: string; version?: string }; result: ModelVersion };
  "registry.publish": {
    params: {
      model: string;
      artifacts: ModelVersion["artifacts"];
      signature: ModelSignature;
      labels: string[];
      metrics?: Evaluation;
      lineage?: Lineage;
    };
    result: ModelVersion;
  };
  /** A version whose steps are other models and operators; `ensemble` is read, and refused, field by field. */
  "registry.publishEnsemble": {
    params: { model: string; ensemble: unknown; labels?: string[] };
    result: ModelVersion;
  };
  /** The specification of a version that is an ensemble. */
  "registry.ensemble": { params: { model: string; version?: string }; result: Ensemble };
  "registry.setAlias": { params: { model: string; alias: string; version: number }; result: ModelRecord };
  /** Replaces how the model is served, on every node. */
  "registry.configure": {
    params: { model: string; configuration: ModelConfiguration };
    result: ModelRecord;
  };
  /** Of the model folders that the node that answers watches: what is wrong, or not taken in yet. */
  "registry.folders": { params: Record<string, never>; result: FolderReport };
  /** Takes a model out of service on every node, or back in; its versions and aliases stay. */
  "registry.setLoaded": { params: { model: string; loaded: boolean }; result: ModelRecord };
  /** Moves the production alias unless the version scores worse than the one it points at. */
  "registry.promote": {
    params: { model: string; version: number };
    result: { promoted: boolean; reason: string; record: ModelRecord };
  };
  /** Replaces the model's canary and shadow; `{}` ends both. Production moving to one of their versions ends that. */
  "registry.rollOut": { params: { model: string; rollout: Rollout }; result: ModelRecord };
  /**
   * Takes a canary back, with the reason in the model's record; nothing when it is no longer that version, or not the
   * rollout that was set at `startedAt`.
   */
  "registry.rollBack": {
    params: { model: string; version: number; startedAt?: string; reason: string };
    result: { rolledBack: boolean; record: ModelRecord };
  };

  "trainer.start": {
    params: Partial<TrainingSpec> & Pick<TrainingSpec, "model" | "architecture" | "data">;
    result: Job;
  };
  "trainer.get": { params: { id: string }; result: Job };
  "trainer.list": { params: { state?: JobState; limit?: number }; result: Job[] };
  "trainer.cancel": { params: { id: string }; result: Job };

  "converter.convert": {
    params: { checkpoint: ArtifactRef; dataset: DatasetSelection };
    /** `scores`: what each output gives where it tells classes apart. */
    result: {
      onnx: ArtifactRef;
      signature: ModelSignature;
      labels: string[];
      scores: Record<string, OutputScores>;
      parity: Lineage["parity"];
    };
  };
  "evaluator.evaluate": {
    /**
     * `scores`: what outputs that tell classes apart give, by output. @default "probabilities"
     * `batchSize`: how many examples the model is given at a time, at the most. @default 256, which is the limit
     */
    params: {
      onnx: ArtifactRef;
      dataset: DatasetSelection;
      scores?: Record<string, OutputScores>;
      batchSize?: number;
    };
    result: Evaluation;
  };

  "inference.predict": { params: PredictRequest; result: PredictResponse };
  /** Gives up a prediction that the calling node has asked this one for, by the id of that call, unless it has begun. */
  "inference.cancel": { params: { call: string }; result: undefined };
  "inference.metadata": { params: { model: string; version?: string }; result: ModelMetadata };
  /** Without a model: whether every model of the registry that should be served is loaded on this node. */
  "inference.ready": { params: { model?: string; version?: string }; result: Readiness };
  /** Of the versions loaded on the node that answers: of one version, one model, or all. */
  "inference.statistics": { params: { model?: string; version?: string }; result: ModelStatistics[] };
  /** Versions that this node holds or should hold: of one model, else of all. */
  "inference.states": { params: { model?: string }; result: VersionState[] };
  /** What a model's canary and shadow have come to on the node that answers. */
  "inference.rollout": { params: { model: string }; result: RolloutReport };
}

export type ActionName = keyof Actions;
export type ActionParams<A extends ActionName> = Actions[A]["params"];
export type ActionResult<A extends ActionName> = Actions[A]["result"];

/** Asks every node that offers an action: the answers in no order. Fails when one of them does. */
export type CallEach = <A extends ActionName>(
  action: A,
  params: Actions[A]["params"],
  options?: { timeout?: number },
) => Promise<Actions[A]["result"][]>;

/**
 * `signal` aborts when nobody waits for the answer any more: what has not begun is then left undone. It is heard where
 * the action runs in this process, and on another node if the action says what cancels it (mixins/cancellation.ts).
 */
export type Call = <A extends ActionName>(
  action: A,
  params: Actions[A]["params"],
  options?: { timeout?: number; nodeID?: string; retries?: number; signal?: AbortSignal },
) => Promise<Actions[A]["result"]>;
