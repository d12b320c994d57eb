/**
 * One shadow on one node: runs copies of what production has answered, compares, counts, and gives nothing to anybody.
 *
 * A caller never waits for a copy by more than one run: copies wait in a bounded line of their own, and go to the
 * workers one at a time, when one is idle. What finds the line full is dropped and counted. Inputs are copied, once,
 * when production has answered: from then on callers may change them.
 */

import { errorMessage } from "../errors.ts";
import type { PredictRequest } from "../protocol/inference.ts";
import type { MetricSink } from "../protocol/metrics.ts";
import type { Shadow as ShadowSettings } from "../protocol/models.ts";
import type { ShadowReport } from "../protocol/rollout.ts";
import { allocate, type NumericArray } from "../tensor/datatype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { differenceOf } from "./answer-difference.ts";
import type { BatchRunner } from "./batcher.ts";
import type { Clock } from "./clock.ts";
import { LatencyHistogram } from "./latency-histogram.ts";
import { checkInputs, checkOutputs } from "./request-check.ts";
import type { ReadyVersion } from "./served-model.ts";

export type ShadowOptions = {
  model: string;
  shadow: ShadowSettings;
  /** The shadow's version, while it is loaded. */
  ready: () => ReadyVersion | undefined;
  runner: Pick<BatchRunner, "capacity" | "onRoom">;
  clock: Clock;
  /** 0 to below 1. */
  random: () => number;
  metrics: MetricSink;
  /** Deadline of a copy. */
  timeoutMs: number;
  /** Copies that may wait or run. @default 32 */
  maxCopies?: number;
  /** Bytes of inputs that they may hold together. @default 64 MiB */
  maxBytes?: number;
};

/** What production was asked and has answered. */
export type Answered = { request: PredictRequest; outputs: Tensor[]; tookMs: number };

type Copy = { inputs: Tensor[]; bytes: number; asked: string[] | undefined } & Pick<
  Answered,
  "outputs" | "tookMs"
>;
type Outcome = "matched" | "differed" | "failed" | "dropped";

const DEFAULT_TOLERANCE = 1e-5;
const MAX_COPIES = 32;
const MAX_BYTES = 64 * 1024 * 1024;
/** Behind every level that a model may have. */
const LAST = Number.MAX_SAFE_INTEGER;

export class Shadow {
  readonly #options: ShadowOptions;
  readonly #waiting: Copy[] = [];
  readonly #counts: Record<Outcome, number> = { matched: 0, differed: 0, failed: 0, dropped: 0 };
  readonly #shadowMs = new LatencyHistogram();
  readonly #productionMs = new LatencyHistogram();
  #classesDiffered = 0;
  #maxDifference = 0;
  #lastFailure = "";
  #copies = 0;
  #bytes = 0;
  #running = false;
  #listening = false;
  #closed = false;

  constructor(options: ShadowOptions) {
    this.#options = options;
  }

  /** Copies a request that production has answered, if it is its turn and there is room. Never throws. */
  mirror({ request, outputs, tookMs }: Answered): void {
    const { shadow, ready, random, maxCopies = MAX_COPIES, maxBytes = MAX_BYTES } = this.#options;
    const { share = 1 } = shadow;
    if (this.#closed || (share < 1 && random() >= share) || !ready()) return;
    const bytes = request.inputs.reduce((sum, { data }) => sum + bytesOf(data), 0);
    if (this.#copies >= maxCopies || this.#bytes + bytes > maxBytes) {
      this.#count("dropped");
      return;
    }
    this.#copies++;
    this.#bytes += bytes;
    const inputs = request.inputs.map(copyOf);
    this.#waiting.push({ inputs, bytes, asked: request.outputs, outputs, tookMs });
    this.#pump();
  }

  report(): Omit<ShadowReport, "state" | "reason"> {
    const { version, share = 1 } = this.#options.shadow;
    return {
      version,
      share,
      ...this.#counts,
      classesDiffered: this.#classesDiffered,
      maxDifference: this.#maxDifference,
      lastFailure: this.#lastFailure,
      p95Ms: { shadow: this.#shadowMs.quantile(0.95), production: this.#productionMs.quantile(0.95) },
    };
  }

  /** Forgets what waits. */
  close(): void {
    this.#closed = true;
    this.#waiting.length = 0;
  }

  readonly #pump = (): void => {
    if (this.#running || this.#waiting.length === 0) return;
    const { ready, runner } = this.#options;
    const version = ready();
    if (!version) {
      for (const copy of this.#waiting.splice(0)) this.#end(copy, "dropped");
      return;
    }
    // The steps of an ensemble wait in queues of their own, and may be on other nodes.
    if (version.ensemble || runner.capacity(version.instance) === "idle") {
      this.#running = true;
      void this.#run(version, this.#waiting.shift()!).finally(() => {
        this.#running = false;
        this.#pump();
      });
    } else if (!this.#listening) {
      this.#listening = true;
      runner.onRoom(() => {
        this.#listening = false;
        this.#pump();
      });
    }
  };

  async #run(version: ReadyVersion, copy: Copy): Promise<void> {
    const { clock, shadow, timeoutMs } = this.#options;
    const { loaded, batcher, labels } = version;
    const startedAt = clock.now();
    try {
      // Production has taken them, NaN included.
      const inputs = checkInputs(copy.inputs, loaded.signature, loaded.batchable, true);
      const asked = checkOutputs(copy.asked, loaded.signature);
      const answer = await batcher.submit(inputs, asked, { deadlineMs: timeoutMs, priority: LAST });
      this.#shadowMs.add(clock.now() - startedAt);
      this.#productionMs.add(copy.tookMs);
      const { tolerance = DEFAULT_TOLERANCE } = shadow;
      const { same, largest, otherClass } = differenceOf(copy.outputs, answer, tolerance, labels.length);
      this.#maxDifference = Math.max(this.#maxDifference, largest);
      if (otherClass) this.#classesDiffered++;
      this.#end(copy, same ? "matched" : "differed");
    } catch (error) {
      this.#lastFailure = errorMessage(error);
      this.#end(copy, "failed");
    }
  }

  #end({ bytes }: Copy, outcome: Outcome): void {
    this.#copies--;
    this.#bytes -= bytes;
    if (!this.#closed) this.#count(outcome);
  }

  #count(outcome: Outcome): void {
    const { metrics, model } = this.#options;
    this.#counts[outcome]++;
    metrics.increment("moiety.rollout.shadow.requests", { model, outcome });
  }
}

/** `slice` would not do: that of a Buffer is a view. */
function copyOf({ name, datatype, shape, data }: Tensor): Tensor {
  if (Array.isArray(data)) return { name, datatype, shape: [...shape], data: [...data] };
  const copy = allocate(datatype, data.length) as NumericArray;
  copy.set(data as never);
  return { name, datatype, shape: [...shape], data: copy };
}

/** Strings by their length, which is close enough for a bound. */
function bytesOf(data: Tensor["data"]): number {
  return Array.isArray(data) ? data.reduce((sum, text) => sum + text.length, 0) : data.byteLength;
}
