/**
 * What a caller knows of one node: what the node said of its load, what this caller has in flight there, how its
 * answers come, and why it is left alone, if it is. Times are the clock's milliseconds.
 */

import type { NodeLoad } from "../protocol/node-load.ts";
import type { Question } from "./question.ts";

/**
 * Why a node gets no calls. `silent`: it leaves probes unanswered. `timeouts`: calls to it pass their deadlines and it
 * answers no other. `slow`: its answers take far longer than the others'. `draining`: it is stopping.
 */
export type AvoidReason = "silent" | "timeouts" | "slow" | "draining";

/** A call to the node. */
export type Sent = Question & { startedAt: number };

/** Of calls, without an answer between them. One may be its own fault. */
const TIMEOUTS = 2;
/** A node that is stopping leaves the registry soon. */
const DRAINING_MS = 2_000;
/** Asking too early costs a hop and a second attempt elsewhere, so little is lost by asking again soon. */
const NOT_READY_MS = 1_000;
const MAX_SUBJECTS = 1_024;
/** Weight of the newest in a mean over the last few. */
const NEWEST = 0.1;
const NEWEST_PROBE = 0.3;

export class Peer {
  load: NodeLoad | undefined;
  /** Of probes, about: the way there and back and how busy the node's event loop is. */
  roundTripMs: number | undefined;
  rowsInFlight = 0;
  /** Rows in flight when it told of its load: these are in it. */
  rowsInLoad = 0;
  /** How long its answers take, as a multiple of what is typical of what was asked; undefined before the first. */
  slowness: number | undefined;
  /** How much longer than typical, in ms. */
  excessMs = 0;
  slow = false;
  lastAnswerAt = Number.NEGATIVE_INFINITY;
  /** When it was last sent a call to see how it does. */
  triedAt = Number.NEGATIVE_INFINITY;
  /** How calls ended, by outcome: "ok" or an error's type. */
  readonly outcomes = new Map<string, number>();
  readonly #inFlight = new Set<Sent>();
  #askedAt: number | undefined;
  #timeouts = 0;
  #drainingUntil = Number.NEGATIVE_INFINITY;
  /** By subject: until when it is taken for not ready. */
  readonly #notReady = new Map<string, number>();

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** The call that has waited longest. */
  get oldest(): Sent | undefined {
    return this.#inFlight.values().next().value;
  }

  /** A probe leaves. */
  asked(now: number): void {
    this.#askedAt ??= now;
  }

  /** A probe was answered. */
  heard(roundTripMs: number): void {
    this.roundTripMs = towards(this.roundTripMs, roundTripMs, NEWEST_PROBE);
    this.#askedAt = undefined;
  }

  /** It says what it has to do; undefined: it does not say. */
  told(load: NodeLoad | undefined): void {
    this.load = load;
    this.rowsInLoad = this.rowsInFlight;
  }

  began(sent: Sent): void {
    this.#inFlight.add(sent);
    this.rowsInFlight += sent.rows;
  }

  ended(sent: Sent, outcome: string): void {
    this.#inFlight.delete(sent);
    this.rowsInFlight -= sent.rows;
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
  }

  /** It has answered, well or not. */
  answered(now: number): void {
    this.lastAnswerAt = now;
    this.#timeouts = 0;
  }

  /** How long an answer took, and what is typical of it. */
  took(ms: number, typicalMs: number): void {
    // Where answers are rare, each is news.
    const before = this.slow ? undefined : this.slowness;
    this.excessMs = towards(before === undefined ? undefined : this.excessMs, ms - typicalMs, NEWEST);
    this.slowness = towards(before, ms / typicalMs, NEWEST);
  }

  timedOut(sent: Sent): void {
    if (this.lastAnswerAt < sent.startedAt) this.#timeouts += 1;
  }

  drains(now: number): void {
    this.#drainingUntil = now + DRAINING_MS;
  }

  notReady(subject: string, now: number): void {
    if (this.#notReady.size >= MAX_SUBJECTS) this.#notReady.clear();
    this.#notReady.set(subject, now + NOT_READY_MS);
  }

  /** Whether it lately said that it cannot answer for the subject yet. */
  lacks(subject: string, now: number): boolean {
    const until = this.#notReady.get(subject);
    if (until === undefined) return false;
    if (now < until) return true;
    this.#notReady.delete(subject);
    return false;
  }

  /** @param silentMs how long a probe may be without an answer; nodes that never answered one take no part */
  avoided(now: number, silentMs: number): AvoidReason | undefined {
    if (this.#askedAt !== undefined && this.roundTripMs !== undefined && now - this.#askedAt > silentMs)
      return "silent";
    if (now < this.#drainingUntil) return "draining";
    if (this.#timeouts >= TIMEOUTS) return "timeouts";
    return this.slow ? "slow" : undefined;
  }
}

/** The mean so far, moved towards a new value; the first is taken whole. */
export function towards(mean: number | undefined, value: number, weight: number): number {
  return mean === undefined ? value : mean + weight * (value - mean);
}
