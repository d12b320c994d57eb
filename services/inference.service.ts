/** Predictions: loads what the registry says should be served, and answers for it from worker threads. */

import type { Context, Service, ServiceSchema } from "moleculer";
import { UnavailableError } from "../lib/errors.ts";
import type { ActionParams } from "../lib/protocol/actions.ts";
import { InferencePool } from "../lib/runtime/worker-pool.ts";
import { systemClock } from "../lib/serving/clock.ts";
import { ModelServer } from "../lib/serving/model-server.ts";
import { PredictionCache } from "../lib/serving/prediction-cache.ts";
import { RedisCache } from "../lib/serving/redis-cache.ts";
import { SyncLoop } from "../lib/serving/sync-loop.ts";
import { balancerOf } from "../mixins/balance.ts";
import { printFrom } from "../mixins/buckets.ts";
import { CancellableCalls } from "../mixins/cancellation.ts";
import { broadcastOf, callOf, configOf, isOffered } from "../mixins/config.ts";
import { metricsMixin, type WithMetrics } from "../mixins/metrics.ts";
import { offerTritonMetrics } from "../mixins/triton-metrics.ts";
import { otherNodesOf } from "./inference/other-nodes.ts";

type Inference = Service &
  WithMetrics & { models: ModelServer; registrySync: SyncLoop; calls: CancellableCalls };
type Schema = ServiceSchema<
  Record<string, unknown>,
  Record<string, unknown>,
  Record<string, unknown>,
  Inference
>;

const REGISTRY_TIMEOUT_MS = 5_000;
const REDIS_CONNECT_MS = 1_000;
const DRAIN_MS = 8_000;
/** Of a roll-back, in the registry. */
const MAX_REASON_CHARACTERS = 1_000;
/** Answers do not depend on how often they are asked for: another node, or this one in a moment, may have it. */
const IDEMPOTENT = { balanced: true, retryPolicy: { enabled: true, retries: 2, delay: 20 } };
const MODEL_PARAMS = { model: "string|min:1|max:64", version: "string|min:1|max:64|optional" };

export default {
  name: "inference",
  mixins: [metricsMixin],

  actions: {
    predict: {
      ...IDEMPOTENT,
      cancelledBy: "inference.cancel",
      // The request is checked, and refused field by field, against the model it names.
      handler(this: Inference, ctx: Context<ActionParams<"inference.predict">>) {
        return this.calls.run(ctx, (signal) =>
          this.models.predict(ctx.params, { deadlineMs: deadlineOf(ctx), signal }),
        );
      },
    },
    cancel: {
      params: { $$strict: true, call: "string|min:1|max:64" },
      handler(this: Inference, ctx: Context<ActionParams<"inference.cancel">>) {
        this.calls.cancel(ctx.nodeID, ctx.params.call);
      },
    },
    metadata: {
      ...IDEMPOTENT,
      params: { $$strict: true, ...MODEL_PARAMS },
      handler(this: Inference, ctx: Context<ActionParams<"inference.metadata">>) {
        return this.models.metadata(ctx.params.model, ctx.params.version);
      },
    },
    ready: {
      balanced: true,
      params: { $$strict: true, ...MODEL_PARAMS, model: "string|min:1|max:64|optional" },
      handler(this: Inference, ctx: Context<ActionParams<"inference.ready">>) {
        return this.models.ready(ctx.params.model, ctx.params.version);
      },
    },
    statistics: {
      params: {
        $$strict: true,
        model: "string|min:1|max:64|optional",
        version: "string|min:1|max:64|optional",
      },
      handler(this: Inference, ctx: Context<ActionParams<"inference.statistics">>) {
        return this.models.statistics(this.broker.nodeID, ctx.params.model, ctx.params.version);
      },
    },
    states: {
      ...IDEMPOTENT,
      params: { $$strict: true, model: "string|min:1|max:64|optional" },
      handler(this: Inference, ctx: Context<ActionParams<"inference.states">>) {
        return this.models.states(ctx.params.model);
      },
    },
    rollout: {
      params: { $$strict: true, model: MODEL_PARAMS.model },
      handler(this: Inference, ctx: Context<ActionParams<"inference.rollout">>) {
        return this.models.rollout(this.broker.nodeID, ctx.params.model);
      },
    },
  },

  events: {
    "model.published"(this: Inference) {
      this.registrySync?.poke();
    },
    "model.aliasMoved"(this: Inference) {
      this.registrySync?.poke();
    },
    "model.configured"(this: Inference) {
      this.registrySync?.poke();
    },
    "model.rolledOut"(this: Inference) {
      this.registrySync?.poke();
    },
    "model.rolledBack"(this: Inference) {
      this.registrySync?.poke();
    },
    "$broker.started"(this: Inference) {
      this.registrySync?.start();
    },
  },

  created(this: Inference) {
    this.calls = new CancellableCalls();
  },

  async started(this: Inference) {
    const { inference, cache, redisUrl, namespace, store, tritonMetrics, strictReadiness } = configOf(
      this.broker,
    );
    const { metrics } = this;
    const call = callOf(this.broker);
    const emit = broadcastOf(this.broker);
    const { nodeID } = this.broker;
    const clock = systemClock;
    const ttlMs = cache.ttlSeconds * 1000;

    const redis =
      redisUrl && cache.maxBytes > 0
        ? new RedisCache({ url: redisUrl, namespace, ttlMs, clock, metrics })
        : undefined;
    if (redis && !(await redis.connected(REDIS_CONNECT_MS)))
      this.logger.warn(`Redis at ${redisUrl} does not answer; predictions are cached in this process only`);

    this.models = new ModelServer({
      catalog: {
        records: async () => {
          if (!isOffered(this.broker, "registry.list"))
            throw new UnavailableError("The registry", "no node runs it");
          return call("registry.list", {}, { timeout: REGISTRY_TIMEOUT_MS });
        },
        version: (model, version) =>
          call("registry.version", { model, version: String(version) }, { timeout: REGISTRY_TIMEOUT_MS }),
        ensemble: (model, version) =>
          call("registry.ensemble", { model, version }, { timeout: REGISTRY_TIMEOUT_MS }),
      },
      otherNodes: otherNodesOf(this.broker),
      location: store,
      pool: new InferencePool({ workers: inference.workers, isolation: inference.isolation, metrics }),
      policy: inference,
      timeoutMs: inference.timeoutMs,
      strictReadiness,
      cache:
        cache.maxBytes > 0
          ? new PredictionCache({ maxBytes: cache.maxBytes, ttlMs, clock, metrics, redis })
          : undefined,
      clock,
      metrics,
      onLoaded: (model, version) => {
        this.logger.info(`Serving ${model} version ${version}`);
        emit("model.loaded", { model, version, nodeID });
      },
      onLoadFailed: (model, version, reason) => {
        this.logger.error(`Cannot serve ${model} version ${version}: ${reason}`);
        emit("model.loadFailed", { model, version, nodeID, reason });
      },
      rollBack: async ({ reason, ...canary }) => {
        const told = `Canary version ${canary.version} of ${canary.model}: ${reason}`;
        this.logger.warn(`${told}; rolling back`);
        const why = `on node ${nodeID}: ${reason}`.slice(0, MAX_REASON_CHARACTERS);
        await call("registry.rollBack", { ...canary, reason: why }, { timeout: REGISTRY_TIMEOUT_MS });
      },
    });
    printFrom(this.broker, "moiety.inference.queue.size", () =>
      [...this.models.queued()].map(([model, value]) => ({ labels: { model }, value })),
    );
    if (tritonMetrics) offerTritonMetrics(this.broker, () => this.models.allStatistics(nodeID));
    balancerOf(this.broker).ownLoad = () => this.models.load();
    this.registrySync = new SyncLoop({
      sync: () => this.models.sync(),
      clock,
      onFailure: (reason) => this.logger.warn(`The registry cannot be read: ${reason}`),
    });
    // Not awaited: a node without models is up, only not ready. Services start together, so the registry of this
    // process is there only once the broker has started.
    if (this.broker.started) this.registrySync.start();
  },

  async stopped(this: Inference) {
    this.registrySync?.stop();
    await this.models?.drain(DRAIN_MS);
  },
} satisfies Schema;

/** The caller's, where it is sooner than the service's own. */
function deadlineOf(ctx: Context): number | undefined {
  const ownMs = configOf(ctx.broker).inference.timeoutMs;
  const callMs = ctx.options.timeout;
  return callMs ? Math.min(callMs, ownMs) : ownMs;
}
