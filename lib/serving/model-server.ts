/**
 * The data plane of one node: which versions are loaded, and every prediction's way from request to answer. It
 * follows the registry (`sync`): loads what should be served beside what is, switches once the new is warm, then
 * drains and unloads the old. A version that fails to load is remembered with its reason and leaves the rest
 * serving. Serves every version an alias points to, and those its configuration asks for.
 */

import {
  DrainingError,
  errorMessage,
  errorType,
  ModelNotFoundError,
  ModelNotReadyError,
  MoietyError,
} from "../errors.ts";
import type { Ensemble } from "../protocol/ensembles.ts";
import type {
  ModelMetadata,
  PredictRequest,
  PredictResponse,
  Readiness,
  VersionState,
} from "../protocol/inference.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import type { ModelRecord, ModelVersion } from "../protocol/models.ts";
import type { NodeLoad } from "../protocol/node-load.ts";
import type { RolloutReport } from "../protocol/rollout.ts";
import type { ModelStatistics } from "../protocol/statistics.ts";
import { within } from "../runtime/within.ts";
import { type InferencePool, type ModelName, modelId } from "../runtime/worker-pool.ts";
import type { StoreLocation } from "../store/store.ts";
import { Batcher, type BatchPolicy, type SubmitOptions } from "./batcher.ts";
import { cacheKey } from "./cache-key.ts";
import type { Clock } from "./clock.ts";
import { EnsembleLoader } from "./ensemble-loader.ts";
import { EnsembleVersion } from "./ensemble-version.ts";
import { instanceKey, loadOptionsOf } from "./instance-options.ts";
import { LoadMeter } from "./load-meter.ts";
import type { PredictionCache } from "./prediction-cache.ts";
import { checkInputs, checkOutputs, checkRequest } from "./request-check.ts";
import type { FailedCanary } from "./rollout.ts";
import { Rollouts } from "./rollouts.ts";
import { type HeldVersion, type ReadyVersion, ServedModel, type VersionQueue } from "./served-model.ts";
import { VersionStatistics } from "./statistics.ts";
import { type OtherNodes, type PredictStep, pinnedVersions, StepModels } from "./step-models.ts";

/** What the server needs of the registry. Both calls must end by themselves. */
export interface ModelCatalog {
  records(): Promise<ModelRecord[]>;
  version(model: string, version: number): Promise<ModelVersion>;
  /** The specification of a version that is an ensemble. @default there are none */
  ensemble?(model: string, version: string): Promise<Ensemble>;
}

export type ModelServerOptions = {
  catalog: ModelCatalog;
  /** Where workers read model files. */
  location: StoreLocation;
  pool: InferencePool;
  policy: BatchPolicy;
  /** Deadline of predictions that name none. */
  timeoutMs: number;
  /** @default there are none */
  otherNodes?: OtherNodes;
  /** Whether the node is ready only while every model that should be served is. @default while one is */
  strictReadiness?: boolean;
  /** Undefined: nothing is cached. */
  cache?: PredictionCache | undefined;
  clock: Clock;
  metrics: MetricSink;
  onLoaded?: (model: string, version: string) => void;
  onLoadFailed?: (model: string, version: string, reason: string) => void;
  /** Takes a canary back on every node; asked again, now and then, while it throws. @default nothing */
  rollBack?: (canary: FailedCanary) => Promise<void>;
  /** Draws canaries and shadows: 0 to below 1. @default Math.random */
  random?: () => number;
};

const PLATFORM = "onnxruntime_onnx";
const ENSEMBLE_PLATFORM = "ensemble";
/** How long an unloaded version may take to finish what it has. */
const UNLOAD_DRAIN_MS = 30_000;
/** Back-off of failed loads: a store that is away comes back soon; a broken file hardly ever, and each try leaks. */
const TRANSIENT_BACKOFF_MS = { first: 1_000, most: 60_000 };
const PERMANENT_BACKOFF_MS = { first: 60_000, most: 3_600_000 };
/** Requests for unknown models ask the registry anew, together, at most this often. */
const REFRESH_INTERVAL_MS = 100;

export class ModelServer {
  readonly #options: ModelServerOptions;
  readonly #models = new Map<string, ServedModel>();
  readonly #meter: LoadMeter;
  /** Loads and unloads in progress, by model id: the next one for the same id waits. */
  readonly #transitions = new Map<string, Promise<void>>();
  readonly #unloading = new Map<VersionQueue, ModelName>();
  readonly #ensembles: EnsembleLoader;
  readonly #stepModels: StepModels;
  readonly #rollouts: Rollouts;
  #refreshing: Promise<void> = Promise.resolve();
  /** When the newest refresh began to read, and whether one waits to. */
  #refreshStartedAt = Number.NEGATIVE_INFINITY;
  #nextRefresh: Promise<void> | undefined;
  #synced = false;
  /** Whether what was to be served at the start has been loaded, or has failed to. */
  #settled = false;
  #lastSyncError: string | undefined;
  #draining = false;
  /** How often a version has been loaded here. */
  #instances = 0;

  constructor(options: ModelServerOptions) {
    this.#options = options;
    this.#stepModels = new StepModels({
      loaded: (model, version) => this.#held(model, version)?.loaded.signature,
      record: (model) => this.#models.get(model)?.record,
      version: (...of) => options.catalog.version(...of),
      otherNodes: options.otherNodes,
    });
    this.#ensembles = new EnsembleLoader({
      ...options,
      specification: async (model, version) => options.catalog.ensemble?.(model, version),
      signatureOf: (step) => this.#stepModels.signatureOf(step),
      predictStep: (request, terms) => this.#predictStep(request, terms),
    });
    this.#meter = new LoadMeter(options.clock);
    const { clock, random, pool, metrics, timeoutMs, rollBack = async () => {} } = options;
    this.#rollouts = new Rollouts({
      clock,
      random,
      runner: pool,
      metrics,
      timeoutMs,
      rollBack,
      run: async (...request) => this.#run(...request),
    });
  }

  /**
   * Reads the registry and brings this node in line with it. Resolves when every load it began has ended, well or
   * not. @throws what the catalog throws; what was served stays served
   */
  async sync(): Promise<void> {
    await this.#refresh();
    await Promise.all(this.#transitions.values());
    this.#settled = true;
  }

  /**
   * Answers a prediction. The outputs are shared with the cache and with other callers of the same batch: read
   * only. Inputs stay the caller's and must not change until the answer.
   * @throws {ModelNotFoundError} {ModelVersionNotFoundError} {ModelNotReadyError} {InvalidInputError}
   * {QueueFullError} {DeadlineExceededError} {CancelledError} {DrainingError} {ExecutionError} {WorkerCrashedError}
   */
  predict(request: PredictRequest, options: SubmitOptions = {}): Promise<PredictResponse> {
    return this.#counted(request, this.#answer(request, options));
  }

  #counted(request: PredictRequest, answer: Promise<PredictResponse>): Promise<PredictResponse> {
    const { clock, metrics } = this.#options;
    const startedAt = clock.now();
    return answer.then(
      (response) => {
        const labels = { model: response.model };
        metrics.increment("moiety.inference.request.total", { model: response.model, outcome: "ok" });
        metrics.observe("moiety.inference.request.time", clock.now() - startedAt, labels);
        return response;
      },
      (error: unknown) => {
        // Labels must stay bounded, whatever names callers invent.
        const model = this.#models.has(request?.model) ? request.model : "unknown";
        metrics.increment("moiety.inference.request.total", { model, outcome: errorType(error) });
        throw error;
      },
    );
  }

  /** @throws {ModelNotFoundError} {ModelVersionNotFoundError} {ModelNotReadyError} */
  async metadata(model: string, version?: string): Promise<ModelMetadata> {
    const ready = this.#find(model, version) ?? (await this.#findAfterRefresh(model, version));
    return {
      model,
      versions: this.#models
        .get(model)!
        .readyVersions()
        .map(({ name }) => name.version),
      version: ready.name.version,
      platform: ready.ensemble ? ENSEMBLE_PLATFORM : PLATFORM,
      inputs: ready.loaded.signature.inputs,
      outputs: ready.loaded.signature.outputs,
      labels: this.#models.get(model)!.record.configuration?.labels ?? ready.labels,
      ...(ready.ensemble && { steps: ready.ensemble.stepMaps }),
    };
  }

  /**
   * With a model: whether it (or that version) answers here. Without: whether this node has settled on what to
   * serve and serves something; a version that failed to load does not take a node out of service, but is named.
   * @throws {ModelNotFoundError} {ModelVersionNotFoundError}
   */
  async ready(model?: string, version?: string): Promise<Readiness> {
    if (this.#draining) return { ready: false, reason: "the node is shutting down" };
    if (model === undefined) return this.#nodeReadiness();
    try {
      const found = this.#find(model, version) ?? (await this.#findAfterRefresh(model, version));
      const lacking = await this.#stepModels.lacking(found.ensemble?.modelSteps ?? []);
      if (lacking) return { ready: false, reason: lacking };
      return { ready: true, reason: `version ${found.name.version} is loaded` };
    } catch (error) {
      if (error instanceof ModelNotReadyError) return { ready: false, reason: error.message };
      throw error;
    }
  }

  /**
   * Every version that is here, or should be, of one model or of all.
   * @throws {ModelNotFoundError} {ModelNotReadyError}
   */
  async states(model?: string): Promise<VersionState[]> {
    if (model !== undefined && !this.#models.has(model)) await this.#refreshFor(model, "latest");
    if (model !== undefined && !this.#models.has(model)) throw new ModelNotFoundError(model);
    const held = [...this.#models].flatMap(([name, { versions }]) =>
      [...versions.values()].map((version) => ({
        model: name,
        version: String(version.number),
        state: version.state,
        reason: reasonOf(version),
      })),
    );
    const going = [...this.#unloading.values()].map((name) => ({
      ...name,
      state: "unloading" as const,
      reason: "",
    }));
    // What is unloading may be wanted again, and waits to be loaded.
    const isHeld = (version: VersionState) =>
      held.some((h) => h.model === version.model && h.version === version.version);
    const states = [...held, ...going.filter((version) => !isHeld(version))];
    return model === undefined ? states : states.filter((version) => version.model === model);
  }

  /**
   * What every loaded version has done here, or those of one model, or one of them.
   * @throws {ModelNotFoundError} {ModelVersionNotFoundError} {ModelNotReadyError}
   */
  async statistics(nodeID: string, model?: string, version?: string): Promise<ModelStatistics[]> {
    if (model !== undefined && version !== undefined) {
      const ready = this.#find(model, version) ?? (await this.#findAfterRefresh(model, version));
      return [statisticsOf(ready, nodeID)];
    }
    if (model === undefined) return this.allStatistics(nodeID);
    if (!this.#models.has(model)) await this.#findAfterRefresh(model, version);
    return this.#models
      .get(model)!
      .readyVersions()
      .map((ready) => statisticsOf(ready, nodeID));
  }

  /** Of every loaded version. */
  allStatistics(nodeID: string): ModelStatistics[] {
    return [...this.#models.values()].flatMap((served) =>
      served.readyVersions().map((ready) => statisticsOf(ready, nodeID)),
    );
  }

  /** How many requests wait for a batch, by model. */
  queued(): Map<string, number> {
    const waiting = new Map<string, number>();
    for (const [model, served] of this.#models)
      waiting.set(
        model,
        served.readyVersions().reduce((sum, { batcher }) => sum + batcher.queued, 0),
      );
    return waiting;
  }

  /**
   * What a model's canary and shadow have come to here.
   * @throws {ModelNotFoundError} {ModelNotReadyError}
   */
  async rollout(nodeID: string, model: string): Promise<RolloutReport> {
    if (!this.#models.has(model)) await this.#refreshFor(model, "latest");
    if (!this.#models.has(model)) throw new ModelNotFoundError(model);
    return this.#rollouts.of(model)?.report(nodeID) ?? { model, nodeID };
  }

  /** What this node has to do. */
  load(): NodeLoad {
    return this.#meter.read();
  }

  /** Takes no new requests, finishes those it has within `timeoutMs`, then frees everything. */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    this.#rollouts.close();
    const serving = [...this.#models.values()].flatMap((model) => model.readyVersions());
    const queues = [...serving.map(({ batcher }) => batcher), ...this.#unloading.keys()];
    const { clock } = this.#options;
    const startedAt = clock.now();
    // The steps of ensembles are predictions too: they are taken until no ensemble is in work.
    const ensembles = queues.filter((queue) => queue instanceof EnsembleVersion);
    await Promise.all(ensembles.map((ensemble) => ensemble.idle(timeoutMs)));
    const leftMs = Math.max(0, timeoutMs - (clock.now() - startedAt));
    await Promise.all(queues.map((queue) => queue.drain(leftMs)));
    await this.#options.pool.drain(timeoutMs);
    this.#options.cache?.close();
    await this.#options.pool.close();
    await Promise.allSettled(this.#transitions.values());
  }

  #answer(request: PredictRequest, options: SubmitOptions): Promise<PredictResponse> {
    try {
      checkRequest(request);
      const ready = this.#find(request.model, request.version);
      if (ready)
        return this.#share(ready, request, { ...options, deadlineMs: this.#deadlineMs(request, options) });
      const found = this.#findAfterRefresh(request.model, request.version);
      const deadlineMs = this.#deadlineMs(request, options);
      const startedAt = this.#options.clock.now();
      return within(found, deadlineMs, `Finding model '${request.model}'`).then((late) => {
        const leftMs = deadlineMs - (this.#options.clock.now() - startedAt);
        return this.#share(late, request, { ...options, deadlineMs: leftMs });
      });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** By the version found, or by the canary that shares its requests. */
  #share(ready: ReadyVersion, request: PredictRequest, options: SubmitOptions): Promise<PredictResponse> {
    const rollout = this.#rollouts.sharing(request);
    return rollout ? rollout.answer(ready, request, options) : this.#run(ready, request, options);
  }

  #run(ready: ReadyVersion, request: PredictRequest, options: SubmitOptions): Promise<PredictResponse> {
    const { clock } = this.#options;
    const { statistics } = ready;
    const startedAt = clock.now();
    const answer = this.#submit(ready, request, options);
    // The work of an ensemble is that of its steps, some of them elsewhere.
    const ended = ready.ensemble
      ? () => {}
      : this.#meter.began(ready.batcher, request.inputs[0]?.shape[0] || 1);
    return answer.then(
      ({ looked, ...response }) => {
        ended(true);
        const tookMs = clock.now() - startedAt;
        statistics.answered(tookMs);
        if (looked) statistics.lookedUp(response.cached, tookMs);
        return response;
      },
      (error: unknown) => {
        ended(false);
        statistics.failed(errorType(error), clock.now() - startedAt);
        throw error;
      },
    );
  }

  /** `looked`: whether it was looked for in the cache. */
  #submit(
    ready: ReadyVersion,
    request: PredictRequest,
    { deadlineMs, signal }: SubmitOptions,
  ): Promise<PredictResponse & { looked: boolean }> {
    const { name, loaded, digest } = ready;
    const { priority } = request;
    const inputs = checkInputs(request.inputs, loaded.signature, loaded.batchable, request.nonFinite);
    const outputs = checkOutputs(request.outputs, loaded.signature);
    if (ready.ensemble) {
      const ensemble = this.#models.get(name.model)?.ready(ready.number)?.ensemble ?? ready.ensemble;
      return ensemble
        .predict({ ...request, inputs }, outputs, { deadlineMs, signal })
        .then((answer) => ({ ...name, ...answer, cached: false, looked: false }));
    }
    const { cache } = this.#options;
    const {
      enabled = true,
      ttlSeconds,
      maxBytes,
    } = this.#models.get(name.model)?.record.configuration?.cache ?? {};
    if (!cache || !enabled || request.cache === false)
      return this.#batcherOf(ready)
        .submit(inputs, outputs, { deadlineMs, signal, priority })
        .then((answer) => ({ ...name, outputs: answer, cached: false, looked: false }));
    const key = cacheKey({ ...name, digest, inputs, outputs });
    const what = `Model '${name.model}' version '${name.version}'`;
    return cache
      .answer(
        key,
        (abandoned) => this.#batcherOf(ready).submit(inputs, outputs, { signal: abandoned, priority }),
        {
          deadlineMs,
          signal,
          what,
          model: name.model,
          maxBytes,
          ttlMs: ttlSeconds === undefined ? undefined : ttlSeconds * 1000,
        },
      )
      .then((answer) => ({ ...name, ...answer, looked: true }));
  }

  /** Of the version as it is loaded now: it may have been loaded anew since it was found. */
  #batcherOf({ name, number, batcher }: ReadyVersion): VersionQueue {
    return this.#models.get(name.model)?.ready(number)?.batcher ?? batcher;
  }

  /** The soonest of what the request, its call, its model and this node allow. */
  #deadlineMs({ model, timeoutMs }: PredictRequest, { deadlineMs }: SubmitOptions): number {
    const configured = this.#models.get(model)?.record.configuration?.queue?.timeoutMs;
    const ownMs = deadlineMs ?? this.#options.timeoutMs;
    return Math.min(timeoutMs ?? ownMs, configured ?? ownMs, ownMs);
  }

  #policyOf({ configuration: { batching, queue } = {} }: ModelRecord): BatchPolicy {
    const { policy } = this.#options;
    return {
      maxBatchRows: batching?.maxRows ?? policy.maxBatchRows,
      queueDelayMs: batching?.queueDelayMs ?? policy.queueDelayMs,
      maxQueue: queue?.maxRequests ?? policy.maxQueue,
      priorityLevels: queue?.priorityLevels,
      defaultPriority: queue?.defaultPriority,
      whenFull: queue?.whenFull,
    };
  }

  /** The version that answers; undefined when the registry, as last read, knows no such model or version. */
  #find(model: string, version: string | undefined): ReadyVersion | undefined {
    if (this.#draining) throw new DrainingError("Inference on this node");
    try {
      return this.#models.get(model)?.resolve(version);
    } catch (error) {
      if (errorType(error) === "MODEL_VERSION_NOT_FOUND") return undefined;
      throw error;
    }
  }

  /** The loaded version that answers here; undefined where there is none. */
  #held(model: string, version: string | undefined): ReadyVersion | undefined {
    try {
      return this.#models.get(model)?.resolve(version);
    } catch {
      return undefined;
    }
  }

  /** A step of an ensemble: answered here if the model is here, even while this node drains; else elsewhere. */
  #predictStep(...[request, terms]: Parameters<PredictStep>): Promise<PredictResponse> {
    const held = this.#held(request.model, request.version);
    if (!held) return this.#options.otherNodes?.predict(request, terms) ?? this.predict(request, terms);
    const deadlineMs = this.#deadlineMs(request, terms);
    return this.#counted(request, (async () => this.#share(held, request, { ...terms, deadlineMs }))());
  }

  /** Unknown here may mean published a moment ago: the registry decides. */
  async #findAfterRefresh(model: string, version: string | undefined): Promise<ReadyVersion> {
    await this.#refreshFor(model, version ?? "latest");
    const served = this.#models.get(model);
    if (!served) throw new ModelNotFoundError(model);
    return served.resolve(version);
  }

  async #refreshFor(model: string, version: string): Promise<void> {
    await this.#refresh().catch((error: unknown) => {
      throw new ModelNotReadyError(model, version, `the registry did not answer: ${errorMessage(error)}`);
    });
  }

  /** A reading of the registry that begins no earlier than now; callers that come together share it. */
  #refresh(): Promise<void> {
    this.#nextRefresh ??= this.#refreshing
      .catch(() => {})
      .then(async () => {
        const restMs = this.#refreshStartedAt + REFRESH_INTERVAL_MS - this.#options.clock.now();
        if (restMs > 0) await new Promise<void>((resolve) => this.#options.clock.after(restMs, resolve));
        this.#nextRefresh = undefined;
        this.#refreshStartedAt = this.#options.clock.now();
        this.#refreshing = this.#readRegistry();
        return this.#refreshing;
      });
    return this.#nextRefresh;
  }

  async #readRegistry(): Promise<void> {
    if (this.#draining) return;
    try {
      this.#adopt(await this.#options.catalog.records());
      this.#synced = true;
      this.#lastSyncError = undefined;
    } catch (error) {
      this.#lastSyncError = errorMessage(error);
      throw error;
    }
  }

  #adopt(records: readonly ModelRecord[]): void {
    if (this.#draining) return;
    const gone = new Set(this.#models.keys());
    for (const record of records) {
      gone.delete(record.model);
      const model = this.#models.get(record.model) ?? new ServedModel(record);
      model.record = record;
      this.#models.set(record.model, model);
      for (const { batcher } of model.readyVersions()) batcher.policy = this.#policyOf(record);
      this.#reconcile(model);
    }
    for (const name of gone) {
      const model = this.#models.get(name)!;
      this.#models.delete(name);
      this.#rollouts.forget(name);
      for (const version of model.readyVersions()) this.#unload(version);
    }
    this.#pin();
  }

  /** Keeps loaded, or loads, what loaded ensembles name by number. */
  #pin(): void {
    const steps = [...this.#models.values()]
      .flatMap((model) => model.readyVersions())
      .flatMap(({ ensemble }) => ensemble?.modelSteps ?? []);
    for (const model of this.#models.values()) {
      const before = model.pinned;
      model.pinned = pinnedVersions(steps, model.record.model);
      if (model.pinned.symmetricDifference(before).size > 0) this.#reconcile(model);
    }
  }

  #reconcile(model: ServedModel): void {
    const wanted = model.wanted();
    const key = instanceKey(model.record.configuration);
    for (const [number, held] of model.versions)
      if (held.state === "failed" && !wanted.has(number)) model.versions.delete(number);
    for (const [number, reason] of wanted) {
      const wantedAs = `${reason} ${key}`;
      const held = model.versions.get(number);
      const retry =
        held?.state === "failed" && (held.retryAt <= this.#options.clock.now() || held.wantedAs !== wantedAs);
      if (!held || retry) this.#load(model, number, wantedAs, held?.state === "failed" ? held.attempts : 0);
    }
    for (const ready of model.readyVersions())
      if (ready.instanceKey === key) delete ready.reload;
      else if (wanted.has(ready.number)) this.#reload(model, ready, key);
    model.followAliases();
    this.#rollouts.follow(model);
    for (const version of model.dispensable()) {
      model.versions.delete(version.number);
      this.#unload(version);
    }
  }

  #load(model: ServedModel, number: number, wantedAs: string, attempts: number): void {
    const name = { model: model.record.model, version: String(number) };
    const { clock, metrics, onLoaded, onLoadFailed } = this.#options;
    model.versions.set(number, { state: "loading", number });
    this.#transition(modelId(name), async () => {
      try {
        const { artifacts, labels, format } = await this.#options.catalog.version(name.model, number);
        const { digest } = artifacts.onnx;
        const isEnsemble = format === "ensemble";
        const ready = await this.#make(model, { name, number, digest, labels }, isEnsemble);
        model.versions.set(number, { state: "ready", number, ready });
        metrics.increment("moiety.model.loads", { outcome: "ok" });
        // The registry may have moved on while this was loading.
        if (this.#models.get(name.model) === model) this.#reconcile(model);
        else this.#unload(ready);
        if (isEnsemble) this.#pin();
      } catch (error) {
        if (this.#draining) return;
        const reason = errorMessage(error);
        const retryAt = clock.now() + backoffMs(error, attempts);
        model.versions.set(number, {
          state: "failed",
          number,
          reason,
          retryAt,
          attempts: attempts + 1,
          lasting: !transient(error),
          wantedAs,
        });
        metrics.increment("moiety.model.loads", { outcome: errorType(error) });
        onLoadFailed?.(name.model, name.version, reason);
        if (this.#models.get(name.model) === model) this.#rollouts.follow(model);
        return;
      }
      onLoaded?.(name.model, name.version);
    });
  }

  /** Loads a version as its model's configuration says now. */
  async #make(model: ServedModel, version: VersionFacts, isEnsemble: boolean): Promise<ReadyVersion> {
    const { pool, location, clock, metrics } = this.#options;
    const { name, digest, statistics = new VersionStatistics(name, metrics) } = version;
    const { configuration } = model.record;
    const instance = { ...name, instance: this.#instances++ };
    const startedAt = clock.now();
    const policy = this.#policyOf(model.record);
    const made = { ...version, instance, instanceKey: instanceKey(configuration), statistics };
    if (isEnsemble) {
      const load = { name: instance, options: loadOptionsOf(configuration), policy, statistics };
      const ensemble = await this.#ensembles.load(load);
      statistics.loaded(clock.now() - startedAt);
      return { ...made, loaded: { signature: ensemble.plan, batchable: false }, batcher: ensemble, ensemble };
    }
    const loaded = await pool.load(instance, { location, digest }, loadOptionsOf(configuration));
    statistics.loaded(clock.now() - startedAt);
    const batcher = new Batcher({
      name: instance,
      model: loaded,
      runner: pool,
      policy,
      clock,
      metrics,
      statistics,
    });
    return { ...made, loaded, batcher };
  }

  /**
   * Loads a version anew beside itself, because its configuration has changed, and switches once that is ready. Where
   * it cannot be, the one that is there goes on.
   */
  #reload(model: ServedModel, before: ReadyVersion, key: string): void {
    const { clock, metrics, onLoaded, onLoadFailed } = this.#options;
    const { name, number, digest, labels, statistics, reload } = before;
    if (reload?.key === key && reload.retryAt > clock.now()) return;
    const attempts = reload?.key === key ? reload.attempts : 0;
    before.reload = { key, reason: "", retryAt: Number.POSITIVE_INFINITY, attempts };
    this.#transition(modelId(name), async () => {
      const isServed = () => this.#models.get(name.model) === model && model.ready(number) === before;
      if (!isServed()) return;
      try {
        const facts = { name, number, digest, labels, statistics };
        const ready = await this.#make(model, facts, before.ensemble !== undefined);
        metrics.increment("moiety.model.loads", { outcome: "ok" });
        // It may have been unloaded meanwhile.
        if (!isServed()) return this.#unload(ready);
        model.versions.set(number, { state: "ready", number, ready });
        this.#unload(before);
        this.#reconcile(model);
      } catch (error) {
        if (this.#draining) return;
        const reason = errorMessage(error);
        const retryAt = clock.now() + backoffMs(error, attempts);
        before.reload = { key, reason, retryAt, attempts: attempts + 1 };
        metrics.increment("moiety.model.loads", { outcome: errorType(error) });
        onLoadFailed?.(name.model, name.version, reason);
        return;
      }
      onLoaded?.(name.model, name.version);
    });
  }

  #unload({ name, instance, batcher, ensemble }: ReadyVersion): void {
    const drained = batcher.drain(UNLOAD_DRAIN_MS);
    this.#unloading.set(batcher, name);
    this.#transition(modelId(name), async () => {
      await drained;
      this.#unloading.delete(batcher);
      await (ensemble ? ensemble.release() : this.#options.pool.unload(instance));
    });
  }

  /** One at a time per version: what is unloading may be wanted again. `work` must not throw. */
  #transition(id: string, work: () => Promise<void>): void {
    const before = this.#transitions.get(id) ?? Promise.resolve();
    const turn = before.then(work).finally(() => {
      if (this.#transitions.get(id) === turn) this.#transitions.delete(id);
    });
    this.#transitions.set(id, turn);
  }

  #nodeReadiness(): Readiness {
    if (!this.#synced)
      return {
        ready: false,
        reason: `the registry has not been read yet${this.#lastSyncError ? `: ${this.#lastSyncError}` : ""}`,
      };
    const held = [...this.#models].flatMap(([name, model]) =>
      [...model.versions.values()].map((version) => ({ name: `${name}/${version.number}`, version })),
    );
    const named = (state: string) =>
      held.flatMap(({ name, version }) => (version.state === state ? [name] : [])).join(", ");
    const [loaded, loading, failed] = [named("ready"), named("loading"), named("failed")];
    // A version that is loaded beside one that answers keeps no request from this node.
    const awaited =
      !this.#settled ||
      [...this.#models.values()].some((model) => model.isLoading && !model.readyVersions().length);
    if (loading && awaited) return { ready: false, reason: `loading ${loading}` };
    const failures = failed ? `could not load ${failed}` : "";
    const none = this.#models.size === 0 ? "no model has been published" : "no version is to be served";
    if (!loaded) return { ready: false, reason: failures || none };
    if (this.#options.strictReadiness && [...this.#models.values()].some((model) => model.isMissing))
      return { ready: false, reason: failures };
    const more = [loading && `loading ${loading}`, failures].filter(Boolean);
    return { ready: true, reason: [`serving ${loaded}`, ...more].join("; ") };
  }
}

function statisticsOf({ statistics, batcher }: ReadyVersion, nodeID: string): ModelStatistics {
  return statistics.read(nodeID, batcher.queued);
}

type VersionFacts = Pick<ReadyVersion, "name" | "number" | "digest" | "labels"> & {
  /** Of the same version, loaded otherwise. @default none yet */
  statistics?: VersionStatistics;
};

/** Why a version does not answer, or not as its configuration says. */
function reasonOf(version: HeldVersion): string {
  if (version.state === "failed") return version.reason;
  const reload = version.state === "ready" ? version.ready.reload : undefined;
  return reload?.reason ? `its new configuration cannot be followed: ${reload.reason}` : "";
}

function backoffMs(error: unknown, attempts: number): number {
  const { first, most } = transient(error) ? TRANSIENT_BACKOFF_MS : PERMANENT_BACKOFF_MS;
  return Math.min(first * 2 ** attempts, most);
}

function transient(error: unknown): boolean {
  return error instanceof MoietyError ? error.retryable : retryable(error);
}

/** An error from another thread or node keeps the field, not the class; one without it says nothing: try again. */
function retryable(error: unknown): boolean {
  return (error as { retryable?: unknown } | null)?.retryable !== false;
}
