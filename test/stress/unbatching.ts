/**
 * Whether every caller gets its own rows. Random requests for three models go through one node's queues, batches and
 * threads; what a model answers says which request and which row it was asked. Among them are requests that make their
 * batch fail, that are cancelled, that are late, that jump the queue, that ask for some outputs only and that were asked
 * before; threads are killed now and then. Each must end in one of the ways it may end, and none in silence.
 */

import { errorType } from "../../lib/errors.ts";
import type { PredictRequest } from "../../lib/protocol/inference.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { settled, until } from "../fixtures/eventually.ts";
import { affineModel, freeLengthModel, lookupModel, randomStream } from "../fixtures/onnx-models.ts";
import { openServingNode, type ServingNode } from "./serving-node.ts";

export type UnbatchingOptions = {
  requests: number;
  /** Requests that wait at a time. */
  concurrency: number;
  /** A thread is killed after every so many requests. */
  killEvery: number;
  seed: number;
};

/** How requests ended, by what they were; `kills`: threads killed. */
export type UnbatchingReport = { outcomes: Record<string, number>; rows: number; kills: number };

const ENTRIES = 1000;
const MAX_ROWS = 40;
const POLICY = { maxBatchRows: 32, queueDelayMs: 1, maxQueue: 4096 };
const ANSWERED = "answered";

type Kind = "plain" | "poisoned" | "cancelled" | "left" | "expired" | "late" | "urgent" | "repeated";
/** A request, the rows it asks for, and what each output must hold. */
type Case = { kind: Kind; request: PredictRequest; rows: number; expected: Record<string, number[]> };

/** The ways in which a request of a kind may end: what hurries may be too late or not. */
const MAY_END: Readonly<Record<Kind, readonly string[]>> = {
  plain: [ANSWERED],
  urgent: [ANSWERED],
  repeated: [ANSWERED],
  poisoned: ["EXECUTION_FAILED"],
  cancelled: ["CANCELLED"],
  left: [ANSWERED, "CANCELLED"],
  expired: ["DEADLINE_EXCEEDED"],
  late: [ANSWERED, "DEADLINE_EXCEEDED"],
};

/** @throws {Error} that names the first request that got what was not its own, or none at all */
export async function unbatching(options: UnbatchingOptions): Promise<UnbatchingReport> {
  const node = await openServingNode({ workers: 2, policy: POLICY });
  try {
    await node.publish("lookup", lookupModel(ENTRIES));
    await node.publish("lengths", freeLengthModel());
    await node.publish("affine", affineModel());
    await node.server.sync();
    return await ask(node, options);
  } finally {
    await node.close();
  }
}

async function ask(node: ServingNode, options: UnbatchingOptions): Promise<UnbatchingReport> {
  const next = randomStream(options.seed);
  const outcomes: Record<string, number> = {};
  let [asked, rows, kills] = [0, 0, 0];
  let killing: Promise<void> = Promise.resolve();
  const client = async (): Promise<void> => {
    while (asked < options.requests) {
      const one = caseOf(asked++, next);
      if (asked % options.killEvery === 0) {
        kills++;
        // One after another: a request whose second thread dies too may fail.
        killing = killing.then(() => killOne(node));
      }
      const outcome = await settled(run(node, one, next));
      if (!MAY_END[one.kind].includes(outcome))
        throw new Error(
          `A request that was ${one.kind} ended in ${outcome}: ${JSON.stringify(one.expected)}`,
        );
      const name = `${one.kind}: ${outcome}`;
      outcomes[name] = (outcomes[name] ?? 0) + 1;
      if (outcome === ANSWERED) rows += one.rows;
    }
  };
  await Promise.all(Array.from({ length: options.concurrency }, client));
  await killing;
  return { outcomes, rows, kills };
}

async function run({ server }: ServingNode, one: Case, next: () => number): Promise<string> {
  const controller = new AbortController();
  const answer = server.predict(one.request, { signal: controller.signal });
  if (one.kind === "cancelled") controller.abort();
  if (one.kind === "left") setTimeout(() => controller.abort(), next() * 4);
  try {
    const { outputs } = await answer;
    check(one, outputs);
    return ANSWERED;
  } catch (error) {
    if (error instanceof WrongRowsError) throw error;
    return errorType(error);
  }
}

/** A thread dies in the midst of what it does; the next may only die when it has been replaced. */
async function killOne({ pool }: ServingNode): Promise<void> {
  const [victim] = pool.workers;
  const before = pool.workers.length;
  victim?.kill("the suite wants it so");
  const whole = () =>
    pool.workers.length === before && pool.workers.every(({ alive, models }) => alive && models.size === 3);
  await until(whole);
}

class WrongRowsError extends Error {}

function check({ request, expected, rows }: Case, outputs: readonly Tensor[]): void {
  const names = Object.keys(expected);
  const about = `${JSON.stringify(request.model)} of ${rows} rows`;
  if (outputs.map(({ name }) => name).join() !== names.join())
    throw new WrongRowsError(`${about}: got outputs ${outputs.map(({ name }) => name)}, expected ${names}`);
  for (const { name, shape, data } of outputs) {
    const own = expected[name]!;
    const values = data as Float32Array;
    const same = values.length === own.length && own.every((value, i) => values[i] === value);
    if (shape[0] !== rows || !same)
      throw new WrongRowsError(`${about}: ${name} ${shape} is [${values}], expected [${own}]`);
  }
}

function caseOf(id: number, next: () => number): Case {
  const kind = kindOf(next());
  // The repeated ones share few contents, so that they share runs and cached answers.
  const content = kind === "repeated" ? Math.floor(next() * 20) : id;
  const draw = kind === "repeated" ? randomStream(content) : next;
  const rows = 1 + Math.floor(draw() ** 3 * MAX_ROWS);
  const made =
    kind === "poisoned" || draw() < 0.5
      ? lookupCase(content, rows, kind === "poisoned", draw)
      : draw() < 0.5
        ? lengthsCase(content, rows, draw)
        : affineCase(content, rows);
  const request: PredictRequest = { ...made.request, cache: kind === "repeated" };
  if (kind === "urgent") request.priority = 1 + Math.floor(next() * 16);
  if (kind === "expired") request.timeoutMs = Number.MIN_VALUE;
  if (kind === "late") request.timeoutMs = next() * 4;
  return { kind, request, rows, expected: made.expected };
}

function kindOf(share: number): Kind {
  if (share < 0.05) return "poisoned";
  if (share < 0.1) return "cancelled";
  if (share < 0.15) return "left";
  if (share < 0.2) return "expired";
  if (share < 0.25) return "late";
  if (share < 0.4) return "urgent";
  return share < 0.45 ? "repeated" : "plain";
}

type Made = Pick<Case, "request" | "expected">;

/** Numbers up to 2^24 are exact in 32 bits: request and row are told apart by two of them. */
function lookupCase(id: number, rows: number, poisoned: boolean, next: () => number): Made {
  const index = Array.from({ length: rows }, () => Math.floor(next() * ENTRIES));
  const echo = index.flatMap((_, row) => [id, row]);
  const expected: Record<string, number[]> = {
    row: index.flatMap((entry) => [entry, -entry || 0]),
    echo,
  };
  const outputs = next() < 0.2 ? ["echo"] : undefined;
  if (outputs) delete expected.row;
  if (poisoned) index[Math.floor(next() * rows)] = ENTRIES;
  return {
    request: {
      model: "lookup",
      inputs: [
        { name: "index", datatype: "INT64", shape: [rows], data: BigInt64Array.from(index, BigInt) },
        { name: "x", datatype: "FP32", shape: [rows, 2], data: Float32Array.from(echo) },
      ],
      ...(outputs && { outputs }),
    },
    expected,
  };
}

function lengthsCase(id: number, rows: number, next: () => number): Made {
  const length = 2 + Math.floor(next() * 3);
  const same = Array.from({ length: rows * length }, (_, i) => (i % length === 0 ? id : i));
  return {
    request: {
      model: "lengths",
      inputs: [{ name: "x", datatype: "FP32", shape: [rows, length], data: Float32Array.from(same) }],
    },
    expected: { double: same.map((value) => 2 * value), same },
  };
}

function affineCase(id: number, rows: number): Made {
  const x = Array.from({ length: rows * 3 }, (_, i) => [id, Math.floor(i / 3), i % 3][i % 3]!);
  return {
    request: {
      model: "affine",
      inputs: [{ name: "x", datatype: "FP32", shape: [rows, 3], data: Float32Array.from(x) }],
    },
    expected: { y: x.map((value) => 2 * value + 1) },
  };
}
