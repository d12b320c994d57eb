/**
 * What a node does with three times what it can do, half of it over gRPC. Its capacity is measured first; then requests are sent at three
 * times that rate whether answers come or not, after a burst that no queue of its size could hold. Each must be answered:
 * with an answer, or at once with 503 and Retry-After. The queue stays within its bound, memory is sampled, and when the
 * load is gone it answers as before.
 */

import { readFile } from "node:fs/promises";
import { Agent } from "node:http";
import { eventually, until } from "../fixtures/eventually.ts";
import { GrpcCaller } from "./grpc-caller.ts";
import { type Asked, ask, grpcQuestion, question, startServedProcess } from "./served-process.ts";

export type OverloadOptions = {
  seconds: number;
  /** Of every request. */
  deadlineMs: number;
};

export type OverloadReport = {
  /** Answers a second, one after another on a few connections. */
  capacity: number;
  sent: number;
  /** Not sent, as too many others had no answer yet. */
  heldBack: number;
  answered: number;
  refused: number;
  /** Answered 504: let in, and too late. */
  late: number;
  /** Of those let in, as their clients saw it; what was late never ended. */
  p99Ms: number;
  mostQueued: number;
  queueBound: number;
  /** Of the server, once a second; empty where the system does not tell. */
  residentBytes: number[];
  /** From the last answer under load to the tenth of ten answers in a row. */
  recoveryMs: number;
};

const QUEUE_BOUND = 64;
/** Requests in flight at most, and so connections: a machine that stands still must not find thousands of new ones. */
const CONNECTIONS = 400;
const GRPC_CONNECTIONS = 8;
const BURST = 6 * QUEUE_BOUND;
const OVERLOAD = 3;
const TICK_MS = 20;
const CAPACITY_CONNECTIONS = 8;
const CAPACITY_REQUESTS = 800;
const RECOVERY_ANSWERS = 10;

/** @throws {Error} at an answer that should not be */
export async function overload({ seconds, deadlineMs }: OverloadOptions): Promise<OverloadReport> {
  const { url, address, program, close } = await startServedProcess({
    MOIETY_INFERENCE_MAX_QUEUE: String(QUEUE_BOUND),
  });
  const agent = new Agent({ keepAlive: true });
  const callers = Array.from({ length: GRPC_CONNECTIONS }, () => new GrpcCaller(address));
  // The protocol counts time-outs in microseconds.
  const timeout = deadlineMs * 1000;
  const [body, message] = [question({ timeout }), grpcQuestion({ timeout: { int64_param: timeout } })];
  let asking = 0;
  const predict = () => {
    const turn = asking++;
    return turn % 2 === 0
      ? ask(agent, `${url}/v2/models/m/infer`, body)
      : callers[(turn >> 1) % callers.length]!.ask(message);
  };
  const sampled: { queued: number[]; residentBytes: number[] } = { queued: [], residentBytes: [] };
  try {
    await eventually(async () => (await predict()).status === 200 || undefined);
    const capacity = await measureCapacity(predict);

    const [tookMs, count] = [[] as number[], { answered: 0, refused: 0, late: 0 }];
    let [sent, open, heldBack] = [0, 0, 0];
    let failure: unknown;
    const one = async (): Promise<void> => {
      sent++;
      open++;
      const askedAt = performance.now();
      const asked = await predict().finally(() => open--);
      const outcome = outcomeOf(asked);
      count[outcome]++;
      if (outcome !== "refused")
        tookMs.push(outcome === "late" ? Number.POSITIVE_INFINITY : performance.now() - askedAt);
    };
    const send = (work: () => Promise<void>) =>
      work().catch((error: unknown) => {
        failure ??= error;
      });
    const look = () => sample(agent, url, program.child.pid!, sampled);
    const sampling = setInterval(() => void send(look), 1000);
    for (let i = 0; i < BURST; i++) void send(one);
    const from = performance.now();
    let paced = 0;
    while (performance.now() - from < seconds * 1000 && failure === undefined) {
      const due = ((performance.now() - from) / 1000) * capacity * OVERLOAD;
      for (; paced < due; paced++)
        if (open < CONNECTIONS) void send(one);
        else heldBack++;
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
    await send(look);
    clearInterval(sampling);
    await until(() => open === 0 || failure !== undefined);
    if (failure !== undefined) throw failure;

    const recoveringFrom = performance.now();
    for (let inRow = 0; inRow < RECOVERY_ANSWERS; inRow++) {
      const { status, text } = await predict();
      if (status !== 200) throw new Error(`After the overload: ${status} ${text}`);
    }
    return {
      capacity,
      sent,
      heldBack,
      ...count,
      p99Ms: tookMs.sort((a, b) => a - b)[Math.floor(tookMs.length * 0.99)] ?? Number.NaN,
      mostQueued: Math.max(...sampled.queued),
      queueBound: QUEUE_BOUND,
      residentBytes: sampled.residentBytes,
      recoveryMs: performance.now() - recoveringFrom,
    };
  } finally {
    for (const caller of callers) caller.close();
    agent.destroy();
    await close();
  }
}

async function measureCapacity(predict: () => Promise<Asked>): Promise<number> {
  const from = performance.now();
  let asked = 0;
  const client = async (): Promise<void> => {
    for (; asked < CAPACITY_REQUESTS; asked++) {
      const { status, text } = await predict();
      if (status !== 200) throw new Error(`Below capacity: ${status} ${text}`);
    }
  };
  await Promise.all(Array.from({ length: CAPACITY_CONNECTIONS }, client));
  return (asked * 1000) / (performance.now() - from);
}

function outcomeOf({ status, headers, text }: Asked): "answered" | "refused" | "late" {
  if (status === 200) return "answered";
  if (status === 504) return "late";
  if (status === 503 && Number(headers["retry-after"]) >= 1) return "refused";
  throw new Error(`Under overload: ${status} ${JSON.stringify(headers)} ${text}`);
}

/** How many wait, as the node says, and how much memory it has, as Linux says. */
async function sample(
  agent: Agent,
  url: string,
  pid: number,
  into: { queued: number[]; residentBytes: number[] },
): Promise<void> {
  const { text } = await ask(agent, `${url}/metrics`);
  const queued = /^moiety_inference_queue_size\{[^}]*model="m"[^}]*\} (\d+)/m.exec(text)?.[1];
  if (queued === undefined) throw new Error(`No queue in the metrics: ${text.slice(0, 2000)}`);
  into.queued.push(Number(queued));
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1];
  if (kilobytes !== undefined) into.residentBytes.push(Number(kilobytes) * 1024);
}
