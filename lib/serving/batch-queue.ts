/**
 * Requests of one model version that wait for a batch, in groups that may be merged (equal shapes beyond the first
 * dimension, same outputs). Within a group the lowest level is served first (1 before 2), and first in, first out
 * within a level. Bounded by the batcher. Any request can be taken out in constant time, so a cancelled one holds no
 * memory. Each knows its own place, and a few empty groups stay, rather than that collections come and go with the
 * requests: see lib/serving/deadlines.ts.
 */

import type { Tensor } from "../tensor/tensor.ts";
import type { Share } from "./batch-assembly.ts";

export interface QueuedRequest extends Share {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly string[] | undefined;
  /** Only requests with equal keys are merged. */
  readonly mergeKey: string;
  /** 1 is served first. */
  readonly level: number;
  readonly queuedAt: number;
  /** Kept by the queue: where it waits. */
  place?: QueueNode<QueuedRequest> | undefined;
}

/** Requests that may be merged, and what decides when their batch is due. */
export type WaitingGroup = {
  mergeKey: string;
  /** The lowest level that waits. */
  level: number;
  /** Arrival of the oldest request. */
  queuedAt: number;
  rows: number;
};

/** A request's place in a lane. */
export type QueueNode<R> = {
  readonly request: R;
  readonly lane: Lane<R>;
  previous: QueueNode<R> | undefined;
  next: QueueNode<R> | undefined;
};
/** One level of one group. */
type Lane<R> = {
  readonly group: Group<R>;
  readonly level: number;
  head: QueueNode<R> | undefined;
  tail: QueueNode<R> | undefined;
};
/** With no lanes: empty, kept for requests to come. */
type Group<R> = { readonly key: string; readonly lanes: Lane<R>[]; rows: number };

/** Most groups, empty ones included, before empty ones are forgotten. */
const MOST_KEPT_GROUPS = 32;

export class BatchQueue<R extends QueuedRequest> {
  readonly #groups = new Map<string, Group<R>>();
  #size = 0;
  #rows = 0;

  /** Requests waiting. */
  get size(): number {
    return this.#size;
  }

  /** Of all requests waiting. */
  get rows(): number {
    return this.#rows;
  }

  push(request: R): void {
    let group = this.#groups.get(request.mergeKey);
    if (!group) {
      if (this.#groups.size >= MOST_KEPT_GROUPS) this.#forgetEmpty();
      group = { key: request.mergeKey, lanes: [], rows: 0 };
      this.#groups.set(request.mergeKey, group);
    }
    const lane = laneOf(group, request.level);
    const node: QueueNode<R> = { request, lane, previous: lane.tail, next: undefined };
    if (lane.tail) lane.tail.next = node;
    else lane.head = node;
    lane.tail = node;
    group.rows += request.rows;
    request.place = node;
    this.#size++;
    this.#rows += request.rows;
  }

  /** Whether the request was waiting. */
  remove(request: R): boolean {
    const node = request.place;
    if (!node) return false;
    const { lane, previous, next } = node;
    const { group } = lane;
    if (previous) previous.next = next;
    else lane.head = next;
    if (next) next.previous = previous;
    else lane.tail = previous;
    if (!lane.head) group.lanes.splice(group.lanes.indexOf(lane), 1);
    group.rows -= request.rows;
    this.#rows -= request.rows;
    // A place that outlives its request must not lead to those that came after it.
    node.previous = undefined;
    node.next = undefined;
    request.place = undefined;
    this.#size--;
    return true;
  }

  *waiting(): IterableIterator<WaitingGroup> {
    for (const { key, lanes, rows } of this.#groups.values()) {
      if (lanes.length === 0) continue;
      let queuedAt = Number.POSITIVE_INFINITY;
      for (const { head } of lanes) queuedAt = Math.min(queuedAt, head!.request.queuedAt);
      yield { mergeKey: key, level: lanes[0]!.level, queuedAt, rows };
    }
  }

  /** Takes the first requests of a group, as many as fit into `maxRows`, and at least one. */
  take(mergeKey: string, maxRows: number): R[] {
    const taken: R[] = [];
    let rows = 0;
    full: for (const { head } of this.#groups.get(mergeKey)?.lanes ?? [])
      for (let node = head; node; node = node.next) {
        if (taken.length > 0 && rows + node.request.rows > maxRows) break full;
        taken.push(node.request);
        rows += node.request.rows;
      }
    for (const request of taken) this.remove(request);
    return taken;
  }

  /** Takes everything. */
  takeAll(): R[] {
    const all: R[] = [];
    for (const { lanes } of this.#groups.values())
      for (const { head } of lanes) for (let node = head; node; node = node.next) all.push(node.request);
    for (const request of all) this.remove(request);
    this.#groups.clear();
    return all;
  }

  #forgetEmpty(): void {
    for (const [key, { lanes }] of this.#groups) if (lanes.length === 0) this.#groups.delete(key);
  }
}

/** The group's lane of a level, made where it belongs if it is not there. Lanes are few: the levels in use now. */
function laneOf<R>(group: Group<R>, level: number): Lane<R> {
  const { lanes } = group;
  let at = 0;
  while (at < lanes.length && lanes[at]!.level < level) at++;
  const found = lanes[at];
  if (found?.level === level) return found;
  const lane: Lane<R> = { group, level, head: undefined, tail: undefined };
  lanes.splice(at, 0, lane);
  return lane;
}
