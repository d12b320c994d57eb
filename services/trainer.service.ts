/** Training jobs: accepts, lists and cancels them, and runs those this node claims in threads of their own. */

import type { Context, Service, ServiceSchema } from "moleculer";
import { PRODUCT } from "../lib/product.ts";
import type { ActionParams } from "../lib/protocol/actions.ts";
import type { Events } from "../lib/protocol/events.ts";
import { JOB_STATES } from "../lib/protocol/jobs.ts";
import { JobCheckpoints } from "../lib/store/job-checkpoints.ts";
import { JobStore } from "../lib/store/job-store.ts";
import { Trainer } from "../lib/training/trainer.ts";
import { broadcastOf, callOf, configOf } from "../mixins/config.ts";
import { metricsMixin, type WithMetrics } from "../mixins/metrics.ts";
import { storeMixin, type WithStore } from "../mixins/store.ts";

type TrainerService = Service & WithMetrics & WithStore & { trainer: Trainer };
type Schema = ServiceSchema<
  Record<string, unknown>,
  Record<string, unknown>,
  Record<string, unknown>,
  TrainerService
>;

/** A node that dies is replaced this long after its last renewal. */
const LEASE_MS = 15_000;

export default {
  name: "trainer",
  mixins: [storeMixin, metricsMixin],

  actions: {
    start: {
      // The specification is read, and refused field by field, by the trainer itself.
      handler(this: TrainerService, ctx: Context<ActionParams<"trainer.start">>) {
        return this.trainer.start(ctx.params);
      },
    },
    get: {
      params: { id: "string|min:1|max:64" },
      handler(this: TrainerService, ctx: Context<ActionParams<"trainer.get">>) {
        return this.trainer.get(ctx.params);
      },
    },
    list: {
      params: {
        $$strict: true,
        state: { type: "enum", values: [...JOB_STATES], optional: true },
        limit: "number|integer|min:1|max:1000|optional",
      },
      handler(this: TrainerService, ctx: Context<ActionParams<"trainer.list">>) {
        return this.trainer.list(ctx.params);
      },
    },
    cancel: {
      params: { id: "string|min:1|max:64" },
      handler(this: TrainerService, ctx: Context<ActionParams<"trainer.cancel">>) {
        return this.trainer.cancel(ctx.params);
      },
    },
  },

  events: {
    "training.queued"(this: TrainerService) {
      this.trainer?.onQueued();
    },
    "training.cancelRequested"(this: TrainerService, ctx: Context<Events["training.cancelRequested"]>) {
      this.trainer?.onCancelRequested(ctx.params);
    },
  },

  started(this: TrainerService) {
    const { trainer, store, datasetsDirectory, datasetsMemoryBytes } = configOf(this.broker);
    const { nodeID, instanceID } = this.broker;
    const emit = broadcastOf(this.broker);
    this.trainer = new Trainer({
      jobs: new JobStore(this.store.records, {
        leaseMs: LEASE_MS,
        maxQueued: trainer.maxQueued,
        onAbandoned: (job) => emit("training.ended", { id: job.id, job }),
      }),
      checkpoints: new JobCheckpoints(this.store),
      call: callOf(this.broker),
      emit,
      // A node that restarts under its old name is another owner.
      owner: `${nodeID}#${instanceID.slice(0, 8)}`,
      store,
      datasetsDirectory,
      datasetsMemoryBytes,
      threads: trainer.threads,
      executionProvider: trainer.executionProvider,
      concurrency: trainer.concurrency,
      leaseMs: LEASE_MS,
      codeVersion: PRODUCT.version,
      metrics: this.metrics,
      log: this.logger,
    });
  },

  stopped(this: TrainerService) {
    return this.trainer?.stop();
  },
} satisfies Schema;
