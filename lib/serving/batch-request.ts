/** One caller's request, waiting or in a batch; see pending.ts for how it is answered. */

import type { Tensor } from "../tensor/tensor.ts";
import type { QueuedRequest, QueueNode } from "./batch-queue.ts";
import { Pending, type Settle } from "./pending.ts";
import type { Waiter } from "./waiting-room.ts";

export class BatchRequest extends Pending<Tensor[]> implements QueuedRequest, Waiter {
  readonly inputs: readonly Tensor[];
  readonly rows: number;
  readonly outputs: readonly string[] | undefined;
  readonly mergeKey: string;
  readonly level: number;
  readonly queuedAt: number;
  place: QueueNode<QueuedRequest> | undefined = undefined;
  roomNumber = -1;

  constructor(facts: QueuedRequest, expiresAt: number, settle: Settle<Tensor[]>) {
    super(expiresAt, settle);
    this.inputs = facts.inputs;
    this.rows = facts.rows;
    this.outputs = facts.outputs;
    this.mergeKey = facts.mergeKey;
    this.level = facts.level;
    this.queuedAt = facts.queuedAt;
  }
}
