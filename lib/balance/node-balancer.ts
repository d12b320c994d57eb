/**
 * Which node gets a call: the better of two random ones ("power of two choices", Mitzenmacher 2001), so that callers
 * who know the same do not all run to the same node. Better is where the answer is expected sooner: what the node last
 * said it has to do, plus what this caller has sent there since, minus what has come back. This process itself is asked
 * before others unless they are clearly better. Requests with an affinity key go to the key's node.
 *
 * Nodes that are silent, let calls time out, are far slower than others, or are stopping get nothing; slow ones and
 * those with time-outs are tried again with one call from time to time. When all are avoided all are good: a call is
 * never refused here.
 */

import type { NodeLoad } from "../protocol/node-load.ts";
import { type AvoidReason, Peer, type Sent, towards } from "./peer.ts";
import type { Question } from "./question.ts";
import { Rendezvous } from "./rendezvous.ts";

export type Candidate = { readonly id: string; readonly local: boolean };

export type BalancerOptions = {
  /** Milliseconds since an arbitrary start. */
  now(): number;
  /** From 0 to 1. */
  random(): number;
};

/** What is known of a node now. */
export type PeerView = {
  nodeID: string;
  /** Until it would have answered a request of one row. */
  expectedMs: number;
  avoided: AvoidReason | undefined;
  outcomes: ReadonlyMap<string, number>;
};

export type SentCall = Sent & { peer: Peer };

/** Three probes. */
const SILENT_MS = 750;
/** Between calls to a node that is left alone. */
const TRY_MS = 1_000;
/** What a call over the broker costs; round trips of probes up to `SHORT_TRIP_MS` are no better measure. */
const HOP_MS = 1;
const SHORT_TRIP_MS = 5;
/** How much sooner another node must answer to be better than this process. */
const LOCAL_FACTOR = 1.25;
/** How many times dearer a node must be than another to be looked at now and then, in case it is so no more. */
const SUSPECT = 2;
/** Nodes this close are equal. */
const EQUAL = 0.9;
/** How much longer than elsewhere answers of a slow node take; and by how much, not to judge by trifles. */
const SLOW_FACTOR = 5;
const SLOW_EXCESS_MS = 100;
/** A node with calls in flight that answers none of them for so long, while others answer, is slow. */
const STALLED_MS = 1_000;
/** A deadline shorter than this says more of the client than of the node. */
const TELLING_TIMEOUT_MS = 1_000;
/** Errors that are made here: nothing came from the node. */
const UNANSWERED = new Set(["REQUEST_TIMEOUT", "REQUEST_REJECTED", "CANCELLED"]);
/** Errors of a node that takes no new calls. */
const STOPPING = new Set(["DRAINING", "SERVICE_NOT_FOUND"]);
const NEWEST = 0.05;
/** Clocks are no finer than this. */
const LEAST_MS = 0.01;
/** By how much a longer answer moves what is typical; a shorter one by three times that. */
const STEP = 0.02;
const MAX_SUBJECTS = 1_024;

export class NodeBalancer {
  readonly #options: BalancerOptions;
  readonly #peers = new Map<string, Peer>();
  readonly #rendezvous = new Rendezvous();
  /** How long answers take, by subject. */
  readonly #typicalMs = new Map<string, number>();
  /** What a row costs on nodes that do not say. */
  #rowMs = 1;
  /** What this process has to do, where it serves. */
  ownLoad: (() => NodeLoad) | undefined;

  constructor(options: BalancerOptions) {
    this.#options = options;
  }

  /**
   * @param candidates at least one
   * @param failed the node that this very call has just failed on; it gets it again only if there is no other
   */
  choose<C extends Candidate>(candidates: readonly C[], question: Question, failed?: string): C {
    const now = this.#options.now();
    const possible = failed === undefined ? candidates : others(candidates, failed);
    if (question.affinity !== undefined) return this.#keeperOf(question.affinity, possible, question, now);
    const open: C[] = [];
    let dearest: C | undefined;
    let [leastMs, mostMs] = [Number.POSITIVE_INFINITY, 0];
    for (const candidate of possible) {
      const peer = this.#peerOf(candidate.id);
      if (peer.lacks(question.subject, now)) continue;
      const reason = peer.avoided(now, SILENT_MS);
      if (reason !== undefined) {
        if (this.#try(peer, reason, now)) return candidate;
        continue;
      }
      open.push(candidate);
      const rowMs = peer.load?.rowMs || Number.NaN;
      if (rowMs < leastMs) leastMs = rowMs;
      if (rowMs > mostMs) [dearest, mostMs] = [candidate, rowMs];
    }
    if (dearest && mostMs > leastMs * SUSPECT && this.#isForgotten(dearest, now)) return dearest;
    return this.#soonest(open.length > 0 ? open : possible, question.rows);
  }

  /** The chosen node gets the call. `ended` must follow. */
  began(nodeID: string, { subject, rows, affinity }: Question): SentCall {
    const peer = this.#peerOf(nodeID);
    const sent = { subject, rows, affinity, startedAt: this.#options.now(), peer };
    peer.began(sent);
    return sent;
  }

  /**
   * @param failure the error's type; undefined when it went well
   * @param telling whether how long it took says something of the node
   */
  ended(sent: SentCall, failure?: string, telling = true): void {
    const { peer, subject, rows, startedAt } = sent;
    const now = this.#options.now();
    const tookMs = now - startedAt;
    peer.ended(sent, failure ?? "ok");
    if (failure === "REQUEST_TIMEOUT" && tookMs >= TELLING_TIMEOUT_MS) peer.timedOut(sent);
    if (failure !== undefined && UNANSWERED.has(failure)) return;
    peer.answered(now);
    if (failure === undefined) {
      // What has no rows is no prediction.
      if (telling && rows > 0) peer.took(tookMs, this.#learned(subject, tookMs));
    } else if (STOPPING.has(failure)) peer.drains(now);
    else if (failure === "MODEL_NOT_READY") peer.notReady(subject, now);
  }

  /** A node is probed. */
  asked(nodeID: string): void {
    this.#peerOf(nodeID).asked(this.#options.now());
  }

  /** A node has answered a probe. */
  heard(nodeID: string, load: NodeLoad | undefined, roundTripMs: number): void {
    this.#peerOf(nodeID).heard(roundTripMs);
    this.told(nodeID, load);
  }

  /** A node says what it has to do, with an answer that has ended or to a probe. */
  told(nodeID: string, load: NodeLoad | undefined): void {
    this.#peerOf(nodeID).told(load);
    if (load && load.rowMs > 0) this.#rowMs = towards(this.#rowMs, load.rowMs, NEWEST);
  }

  /** To be called about as often as nodes are probed. Finds out who is slow, and forgets who is gone. */
  review(isKnown: (nodeID: string) => boolean): void {
    for (const nodeID of this.#peers.keys()) if (!isKnown(nodeID)) this.#peers.delete(nodeID);
    const now = this.#options.now();
    const usual = this.#usual();
    for (const peer of this.#peers.values())
      peer.slow = this.#isStalled(peer, now) || (usual !== undefined && isSlow(peer, usual));
  }

  /** The nodes that calls went to, or that say what they have to do. */
  view(): PeerView[] {
    const now = this.#options.now();
    const serving = [...this.#peers].filter(([, { load, outcomes }]) => load || outcomes.size > 0);
    return serving.map(([nodeID, peer]) => ({
      nodeID,
      expectedMs: this.#expectedMs(peer, peer.load, 1),
      avoided: peer.avoided(now, SILENT_MS),
      outcomes: peer.outcomes,
    }));
  }

  /**
   * The node of a key. A slow one keeps its keys, as what it remembers for them is worth a wait; one that does not
   * answer loses them to the next, until it does.
   */
  #keeperOf<C extends Candidate>(key: string, possible: readonly C[], { subject }: Question, now: number): C {
    let among = possible.filter(({ id }) => {
      const peer = this.#peerOf(id);
      const reason = peer.avoided(now, SILENT_MS);
      return reason !== "silent" && reason !== "draining" && !peer.lacks(subject, now);
    });
    while (among.length > 0) {
      const keeper = this.#rendezvous.choose(key, among);
      const peer = this.#peerOf(keeper.id);
      const reason = peer.avoided(now, SILENT_MS);
      if (reason !== "timeouts" || this.#try(peer, reason, now)) return keeper;
      among = among.filter((candidate) => candidate !== keeper);
    }
    return this.#rendezvous.choose(key, possible);
  }

  #soonest<C extends Candidate>(candidates: readonly C[], rows: number): C {
    const at = candidates.findIndex(({ local }) => local);
    if (at < 0) return this.#betterOfTwo(candidates, rows)[0];
    const local = candidates[at]!;
    if (candidates.length === 1) return local;
    const [best, bestMs] = this.#betterOfTwo(candidates.toSpliced(at, 1), rows);
    const ownMs = this.#expectedMs(this.#peerOf(local.id), this.ownLoad?.(), rows);
    return ownMs <= bestMs * LOCAL_FACTOR ? local : best;
  }

  #betterOfTwo<C extends Candidate>(remote: readonly C[], rows: number): [C, number] {
    const first = Math.floor(this.#options.random() * remote.length);
    const one = remote[first]!;
    const oneMs = this.#remoteMs(one, rows);
    if (remote.length === 1) return [one, oneMs];
    const step = 1 + Math.floor(this.#options.random() * (remote.length - 1));
    const other = remote[(first + step) % remote.length]!;
    const otherMs = this.#remoteMs(other, rows);
    return otherMs < oneMs * EQUAL ? [other, otherMs] : [one, oneMs];
  }

  #remoteMs({ id }: Candidate, rows: number): number {
    const peer = this.#peerOf(id);
    const tripMs = peer.roundTripMs ?? 0;
    return this.#expectedMs(peer, peer.load, rows) + (tripMs > SHORT_TRIP_MS ? tripMs : HOP_MS);
  }

  /** From now to the answer of a request with so many rows. */
  #expectedMs(peer: Peer, load: NodeLoad | undefined, rows: number): number {
    const rowMs = load && load.rowMs > 0 ? load.rowMs : this.#rowMs;
    // What this process says of itself is of now.
    const sentSince = load === peer.load ? peer.rowsInFlight - (load ? peer.rowsInLoad : 0) : 0;
    return Math.max(0, (load?.waitMs ?? 0) + sentSince * rowMs) + rows * rowMs;
  }

  /**
   * Whether nobody asks a node that has nothing to do, so that it will go on to look dear. A call is sent there now and
   * then: it may have been so only once.
   */
  #isForgotten({ id }: Candidate, now: number): boolean {
    const peer = this.#peerOf(id);
    if (peer.load?.rows !== 0 || now - peer.lastAnswerAt < TRY_MS) return false;
    return this.#isDue(peer, now);
  }

  /** Whether it is time to see how the node does. A silent or stopping one will be heard of without. */
  #try(peer: Peer, reason: AvoidReason, now: number): boolean {
    return (reason === "slow" || reason === "timeouts") && this.#isDue(peer, now);
  }

  #isDue(peer: Peer, now: number): boolean {
    if (peer.inFlight > 0 || now - peer.triedAt < TRY_MS) return false;
    peer.triedAt = now;
    return true;
  }

  /** The node in the middle by slowness; of two the quicker one. */
  #usual(): Peer | undefined {
    const all = [...this.#peers.values()].filter(({ slowness }) => slowness !== undefined);
    return all.sort((a, b) => a.slowness! - b.slowness!)[Math.floor((all.length - 1) / 2)];
  }

  #isStalled(peer: Peer, now: number): boolean {
    const { oldest } = peer;
    if (!oldest) return false;
    const since = Math.max(peer.lastAnswerAt, oldest.startedAt);
    const patienceMs = Math.max(STALLED_MS, SLOW_FACTOR * (this.#typicalMs.get(oldest.subject) ?? 0));
    if (now - since <= patienceMs) return false;
    return [...this.#peers.values()].some((other) => other !== peer && other.lastAnswerAt > since);
  }

  /**
   * What is typical of the subject, this answer counted: about the quickest quarter's time, which a slow node or two do
   * not change.
   */
  #learned(subject: string, tookMs: number): number {
    if (this.#typicalMs.size >= MAX_SUBJECTS && !this.#typicalMs.has(subject)) this.#typicalMs.clear();
    const known = this.#typicalMs.get(subject) ?? Math.max(tookMs, LEAST_MS);
    const typical = Math.max(LEAST_MS, tookMs > known ? known * (1 + STEP) : known * (1 - 3 * STEP));
    this.#typicalMs.set(subject, typical);
    return typical;
  }

  #peerOf(nodeID: string): Peer {
    let peer = this.#peers.get(nodeID);
    if (!peer) {
      peer = new Peer();
      this.#peers.set(nodeID, peer);
    }
    return peer;
  }
}

/** All but one; that one, where it is alone. */
function others<C extends Candidate>(candidates: readonly C[], nodeID: string): readonly C[] {
  const left = candidates.filter(({ id }) => id !== nodeID);
  return left.length > 0 ? left : candidates;
}

/** By far, not by trifles. */
function isSlow({ slowness = 0, excessMs }: Peer, usual: Peer): boolean {
  return slowness > usual.slowness! * SLOW_FACTOR && excessMs - usual.excessMs > SLOW_EXCESS_MS;
}
