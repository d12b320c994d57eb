/**
 * One prediction of an ensemble: every node runs as soon as the tensors it reads are there, so that those that do not
 * wait for one another run at once. The first failure ends the rest and names its step; the deadline and the caller's
 * leaving are passed on to each. A tensor is let go when the last node that reads it has ended.
 */

import { CancelledError, DeadlineExceededError } from "../errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Plan, PlanNode } from "./plan.ts";
import { StepError } from "./step-error.ts";

/**
 * Runs one node: `inputs` by the names it reads, the answer by the names it writes. The signal aborts when nobody waits
 * for it any more.
 */
export type RunNode = (
  node: PlanNode,
  inputs: ReadonlyMap<string, Tensor>,
  terms: { deadlineMs: number; signal: AbortSignal },
) => Promise<Tensor[]>;

export type ExecutionOptions = {
  run: RunNode;
  /** What is run, for errors. */
  what: string;
  /** Counted from now; Infinity: none. */
  deadlineMs: number;
  signal?: AbortSignal | undefined;
  now(): number;
  /** Calls `action` after a while; the answer cancels that. */
  after(delayMs: number, action: () => void): { cancel(): void };
};

/**
 * @param inputs one for each of the plan's
 * @param outputs names of those wanted; undefined: all, in the plan's order. What only others need is not run.
 * @throws {StepError} {DeadlineExceededError} {CancelledError}
 */
export function executePlan(
  plan: Plan,
  inputs: readonly Tensor[],
  outputs: readonly string[] | undefined,
  options: ExecutionOptions,
): Promise<Tensor[]> {
  const wanted = outputs ?? plan.outputs.map(({ name }) => name);
  return new Execution(needed(plan, wanted), wanted, options).start(inputs);
}

/** The nodes that the wanted tensors come from. */
function needed({ nodes }: Plan, wanted: readonly string[]): PlanNode[] {
  const tensors = new Set(wanted);
  const kept = new Set<PlanNode>();
  for (const node of nodes.toReversed())
    if (node.writes.some((tensor) => tensors.has(tensor))) {
      kept.add(node);
      for (const tensor of node.reads) tensors.add(tensor);
    }
  return nodes.filter((node) => kept.has(node));
}

class Execution {
  readonly #nodes: readonly PlanNode[];
  readonly #wanted: readonly string[];
  readonly #options: ExecutionOptions;
  readonly #tensors = new Map<string, Tensor>();
  /** Nodes that have yet to read a tensor, and one for each time it is wanted. */
  readonly #readers = new Map<string, number>();
  readonly #waiting: Set<PlanNode>;
  readonly #running = new Set<PlanNode>();
  readonly #ends = new AbortController();
  readonly #answer = Promise.withResolvers<Tensor[]>();
  readonly #expiresAt: number;
  #settled = false;

  constructor(nodes: readonly PlanNode[], wanted: readonly string[], options: ExecutionOptions) {
    this.#nodes = nodes;
    this.#wanted = wanted;
    this.#options = options;
    this.#waiting = new Set(nodes);
    this.#expiresAt = options.now() + options.deadlineMs;
    for (const tensor of [...wanted, ...nodes.flatMap(({ reads }) => reads)])
      this.#readers.set(tensor, (this.#readers.get(tensor) ?? 0) + 1);
  }

  start(inputs: readonly Tensor[]): Promise<Tensor[]> {
    const { signal, deadlineMs, what, after } = this.#options;
    if (signal?.aborted) return Promise.reject(new CancelledError(what));
    if (deadlineMs <= 0) return Promise.reject(new DeadlineExceededError(what, deadlineMs));
    const cancel = () => this.#fail(new CancelledError(this.#title()));
    signal?.addEventListener("abort", cancel, { once: true });
    const deadline =
      deadlineMs === Number.POSITIVE_INFINITY
        ? undefined
        : after(deadlineMs, () => this.#fail(new DeadlineExceededError(this.#title(), deadlineMs)));
    for (const tensor of inputs) this.#keep(tensor);
    this.#launch();
    return this.#answer.promise.finally(() => {
      signal?.removeEventListener("abort", cancel);
      deadline?.cancel();
    });
  }

  #launch(): void {
    if (this.#waiting.size === 0 && this.#running.size === 0) this.#succeed();
    for (const node of this.#nodes)
      if (this.#waiting.has(node) && node.reads.every((tensor) => this.#tensors.has(tensor))) {
        this.#waiting.delete(node);
        this.#running.add(node);
        void this.#run(node);
        if (this.#settled) return;
      }
  }

  async #run(node: PlanNode): Promise<void> {
    const { run, now } = this.#options;
    try {
      const inputs = new Map(node.reads.map((tensor) => [tensor, this.#tensors.get(tensor)!]));
      const deadlineMs = this.#expiresAt - now();
      const written = await run(node, inputs, { deadlineMs, signal: this.#ends.signal });
      if (this.#settled) return;
      this.#running.delete(node);
      for (const tensor of written) this.#keep(tensor);
      for (const tensor of node.reads) this.#release(tensor);
      this.#launch();
    } catch (error) {
      this.#fail(new StepError(node.name, error));
    }
  }

  #keep(tensor: Tensor): void {
    if (this.#readers.has(tensor.name)) this.#tensors.set(tensor.name, tensor);
  }

  #release(tensor: string): void {
    const left = this.#readers.get(tensor)! - 1;
    this.#readers.set(tensor, left);
    if (left === 0) this.#tensors.delete(tensor);
  }

  #succeed(): void {
    this.#settled = true;
    this.#answer.resolve(this.#wanted.map((name) => this.#tensors.get(name)!));
  }

  #fail(error: Error): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#tensors.clear();
    this.#answer.reject(error);
    this.#ends.abort();
  }

  /** With the steps it is at. */
  #title(): string {
    const steps = [...this.#running].map(({ name }) => `'${name}'`).join(", ");
    return steps ? `${this.#options.what}, in step ${steps},` : this.#options.what;
  }
}
