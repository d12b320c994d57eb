/**
 * Requests of one model version that wait for a batch: first in, first out within a group of requests that may be
 * merged (equal shapes beyond the first dimension, same outputs). Bounded by the batcher. Any request can be taken
 * out in constant time, so a cancelled one holds no memory.
 */

import type { Tensor } from "../tensor/tensor.ts";
import type { Share } from "./batch-assembly.ts";

export interface QueuedRequest extends Share {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly string[] | undefined;
  /** Only requests with equal keys are merged. */
  readonly mergeKey: string;
  readonly queuedAt: number;
}

type Node<R> = { request: R; previous: Node<R> | undefined; next: Node<R> | undefined };
type Group<R> = { key: string; head: Node<R> | undefined; tail: Node<R> | undefined; rows: number };

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
      group = { key: request.mergeKey, head: undefined, tail: undefined, rows: 0 };
      this.#groups.set(request.mergeKey, group);
    }
    const node: Node<R> = { request, previous: group.tail, next: undefined };
    if (group.tail) group.tail.next = node;
    else group.head = node;
    group.tail = node;
    group.rows += request.rows;
    this.#nodes.set(request, node);
  }

  /** Whether the request was waiting. */
  remove(request: R): boolean {
    const node = this.#nodes.get(request);
    const group = this.#groups.get(request.mergeKey);
    if (!node || !group) return false;
    this.#nodes.delete(request);
    if (node.previous) node.previous.next = node.next;
    else group.head = node.next;
    if (node.next) node.next.previous = node.previous;
    else group.tail = node.previous;
    group.rows -= request.rows;
    if (!group.head) this.#groups.delete(group.key);
    return true;
  }

  /** Every group that waits: its oldest request's arrival and its rows. */
  *waiting(): IterableIterator<{ mergeKey: string; queuedAt: number; rows: number }> {
    for (const group of this.#groups.values())
      yield { mergeKey: group.key, queuedAt: group.head!.request.queuedAt, rows: group.rows };
  }

  /** Takes the oldest requests of a group, as many as fit into `maxRows`, and at least one. */
  take(mergeKey: string, maxRows: number): R[] {
    const taken: R[] = [];
    let rows = 0;
    for (let node = this.#groups.get(mergeKey)?.head; node; node = node.next) {
      if (taken.length > 0 && rows + node.request.rows > maxRows) break;
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
