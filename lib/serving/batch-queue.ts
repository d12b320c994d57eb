/**
 * Requests of one model version that wait for a batch, in groups that may be merged (equal shapes beyond the first
 * dimension, same outputs). Within a group the lowest level is served first (1 before 2), and first in, first out
 * within a level. Bounded by the batcher. Any request can be taken out in constant time, so a cancelled one holds no
 * memory.
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

type Node<R> = { request: R; lane: Lane<R>; previous: Node<R> | undefined; next: Node<R> | undefined };
/** One level of one group. */
type Lane<R> = { level: number; head: Node<R> | undefined; tail: Node<R> | undefined };
type Group<R> = { key: string; lanes: Lane<R>[]; rows: number };

export class BatchQueue<R extends QueuedRequest> {
  readonly #groups = new Map<string, Group<R>>();
  readonly #nodes = new Map<R, Node<R>>();

  /** Requests waiting. */
  get size(): number {
    return this.#nodes.size;
  }

  push(request: R): void {
    let group = this.#groups.get(request.mergeKey);
    if (!group) {
      group = { key: request.mergeKey, lanes: [], rows: 0 };
      this.#groups.set(request.mergeKey, group);
    }
    const lane = laneOf(group, request.level);
    const node: Node<R> = { request, lane, previous: lane.tail, next: undefined };
    if (lane.tail) lane.tail.next = node;
    else lane.head = node;
    lane.tail = node;
    group.rows += request.rows;
    this.#nodes.set(request, node);
  }

  /** Whether the request was waiting. */
  remove(request: R): boolean {
    const node = this.#nodes.get(request);
    const group = this.#groups.get(request.mergeKey);
    if (!node || !group) return false;
    const { lane } = node;
    this.#nodes.delete(request);
    if (node.previous) node.previous.next = node.next;
    else lane.head = node.next;
    if (node.next) node.next.previous = node.previous;
    else lane.tail = node.previous;
    group.rows -= request.rows;
    if (!lane.head) group.lanes.splice(group.lanes.indexOf(lane), 1);
    if (group.lanes.length === 0) this.#groups.delete(group.key);
    return true;
  }

  *waiting(): IterableIterator<WaitingGroup> {
    for (const { key, lanes, rows } of this.#groups.values()) {
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
    const all = [...this.#nodes.keys()];
    this.#nodes.clear();
    this.#groups.clear();
    return all;
  }
}

/** The group's lane of a level, made where it belongs if it is not there. Lanes are few: the levels in use now. */
function laneOf<R>({ lanes }: Group<R>, level: number): Lane<R> {
  let at = 0;
  while (at < lanes.length && lanes[at]!.level < level) at++;
  const found = lanes[at];
  if (found?.level === level) return found;
  const lane: Lane<R> = { level, head: undefined, tail: undefined };
  lanes.splice(at, 0, lane);
  return lane;
}
