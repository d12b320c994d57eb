/**
 * What the answers of one measurement come to: exact percentiles of latencies (no histogram, nothing corrected), the
 * rate inside the measured window, and whether answers were right.
 */

import { type AnswerForm, digitOf } from "./answer.ts";
import type { Answer } from "./connection.ts";

const MAX_FAILURES = 20;

/** `request` tells requests apart that are sent again and again. A latency counts from when its request was sent or, at given times, should have been. */
export type Asked = { sinceMs: number; digit: number; request: number };

export class Tally {
  /** Start of the measured window, in `performance.now()`. */
  readonly fromMs: number;
  readonly #form: AnswerForm;
  readonly #latenciesMs: number[] = [];
  readonly #failures: string[] = [];
  /** By request: the last answer that named a digit. */
  readonly #read: { body: Buffer; digit: number }[] = [];
  #endedMs: number | undefined;
  #answered = 0;
  #right = 0;
  #completed = 0;

  constructor(form: AnswerForm, fromMs: number) {
    this.#form = form;
    this.fromMs = fromMs;
  }

  /** Answers that came inside the window. */
  get completed(): number {
    return this.#completed;
  }

  get answered(): number {
    return this.#answered;
  }

  get right(): number {
    return this.#right;
  }

  get failed(): boolean {
    return this.#failures.length >= MAX_FAILURES;
  }

  get ended(): boolean {
    return this.#endedMs !== undefined;
  }

  /** Ends the window; later answers count for latencies only. */
  end(nowMs: number): void {
    this.#endedMs ??= nowMs;
  }

  /** Requests before the window are warm-up: only whether their answers are right counts. */
  take(answer: Answer, asked: Asked): void {
    const { sinceMs, digit } = asked;
    const now = performance.now();
    if (sinceMs >= this.fromMs) this.#latenciesMs.push(now - sinceMs);
    if (now >= this.fromMs && !this.ended) this.#completed++;
    const got = this.#digitOf(answer, asked.request);
    this.#answered++;
    if (got === digit) this.#right++;
    else if (typeof got === "string") this.fail(got);
  }

  /** An answer equal to the last one to the same request is not read again: all servers cost the generator alike. */
  #digitOf(answer: Answer, request: number): number | string {
    const last = this.#read[request];
    if (last && answer.status === 200 && last.body.equals(answer.body)) return last.digit;
    const digit = digitOf(this.#form, answer);
    if (typeof digit === "number") this.#read[request] = { body: Buffer.from(answer.body), digit };
    return digit;
  }

  fail(reason: string): void {
    this.#failures.push(reason);
  }

  /** @throws {Error} when answers were wrong, broken or missing, with the first reason */
  check(minRight: number): void {
    const [first] = this.#failures;
    if (first !== undefined)
      throw new Error(`${this.#failures.length} requests failed, the first with: ${first}`);
    if (this.#completed === 0 || this.#latenciesMs.length === 0)
      throw new Error("no request was sent and answered in the measured window");
    if (this.#right < minRight * this.#answered)
      throw new Error(`${this.#answered - this.#right} of ${this.#answered} answers were wrong digits`);
  }

  /** To be asked once the window has ended. */
  figures(): { requestsPerSecond: number; p50Ms: number; p99Ms: number } {
    const sorted = this.#latenciesMs.toSorted((a, b) => a - b);
    return {
      requestsPerSecond: (this.#completed * 1000) / (this.#endedMs! - this.fromMs),
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
    };
  }
}

/** Smallest sample that at least `share` of all samples do not exceed (nearest rank). */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!;
}
