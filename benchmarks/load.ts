/**
 * The load generator, a process of its own: keeps a number of connections busy for a while, each with one request
 * in flight, checks every answer, and reports requests per second and exact percentiles of their latencies (from
 * the write of a request to its complete answer; no histogram, nothing corrected). The rate counts answers inside the
 * measured window; latencies are those of all requests sent inside it, also when their answer came later, so that a
 * slow server's longest waits are not cut off; the window is longer for a server that answers too few in it.
 *
 * Line protocol: a `LoadOrder` on stdin, a `LoadResult` on stdout, until stdin ends.
 */

import { createInterface } from "node:readline";
import { type AnswerForm, digitOf } from "./answer.ts";
import { transportTo } from "./transport.ts";

const MAX_FAILURES = 20;
const MIN_ANSWERS_PER_CONNECTION = 2;
/** Longest measured window, in durations. */
export const MAX_EXTENSION = 10;
const BROKEN_PAUSE_MS = 50;
const DRAIN_DEADLINE_MS = 40_000;

/** Where requests go, and what they and their answers are like. */
export type Target = { url: string; headers: Readonly<Record<string, string>>; answers: AnswerForm };

export type LoadOrder = {
  target: Target;
  /** Request bodies in base64, sent in turn, and the digit each must be answered with. */
  requests: { body: string; digit: number }[];
  /** Share of answers that must be right: 1 for servers of the reference model. */
  minRight: number;
  connections: number;
  warmUpMs: number;
  durationMs: number;
};

export type LoadResult = {
  requestsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  requests: number;
  right: number;
  /** Processor time of the load generator itself, in cores. */
  cpuShare: number;
  /** The same for each request: what sending, receiving and checking cost. */
  cpuUsPerRequest: number;
};

if (import.meta.main)
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      console.log(JSON.stringify(await runLoad(JSON.parse(line) as LoadOrder)));
    } catch (error) {
      console.log(JSON.stringify({ error: (error as Error).message }));
    }
  }

/** @throws {Error} when answers are wrong, broken or missing, with the first reason */
export async function runLoad(order: LoadOrder): Promise<LoadResult> {
  const { url, headers, answers } = order.target;
  const transport = transportTo(url, headers);
  const requests = order.requests.map(({ body, digit }) => ({
    bytes: transport.request(Buffer.from(body, "base64")),
    digit,
  }));
  const from = performance.now() + order.warmUpMs;
  const until = from + order.durationMs;
  const latest = from + order.durationMs * MAX_EXTENSION;
  let endedMs: number | undefined;
  const latenciesMs: number[] = [];
  const failures: string[] = [];
  const cpuBefore = process.cpuUsage();
  const startedAllMs = performance.now();
  let sent = 0;
  let answered = 0;
  let completed = 0;
  let right = 0;

  /** A slow server's window is longer, so that each connection has a fair number of answers in it. */
  const windowEnded = (now: number): boolean => {
    const enough = completed >= order.connections * MIN_ANSWERS_PER_CONNECTION || now >= latest;
    if (failures.length >= MAX_FAILURES || (now >= until && enough)) endedMs ??= now;
    return endedMs !== undefined;
  };

  const client = (): Promise<void> =>
    new Promise((resolve) => {
      let startedMs = 0;
      let digit = -1;
      const next = (): void => {
        if (windowEnded(performance.now())) {
          connection.close();
          clearTimeout(deadline);
          resolve();
          return;
        }
        const request = requests[sent++ % requests.length]!;
        digit = request.digit;
        startedMs = performance.now();
        connection.send(request.bytes);
      };
      const connection = transport.open({
        onAnswer: (answer) => {
          const now = performance.now();
          if (startedMs >= from) latenciesMs.push(now - startedMs);
          if (now >= from && endedMs === undefined) completed++;
          const got = digitOf(answers, answer);
          answered++;
          if (got === digit) right++;
          else if (typeof got === "string") failures.push(got);
          next();
        },
        onBroken: (reason) => {
          failures.push(reason);
          setTimeout(next, BROKEN_PAUSE_MS);
        },
      });
      const deadline = setTimeout(
        () => {
          failures.push(`no answer within ${DRAIN_DEADLINE_MS} ms of the end`);
          connection.close();
          resolve();
        },
        latest - performance.now() + DRAIN_DEADLINE_MS,
      );
      next();
    });

  await Promise.all(Array.from({ length: order.connections }, client));
  const windowEndMs = endedMs ?? latest;
  const elapsedMs = performance.now() - startedAllMs;
  const cpu = process.cpuUsage(cpuBefore);
  if (failures.length > 0)
    throw new Error(`${failures.length} requests failed, the first with: ${failures[0]}`);
  if (completed === 0 || latenciesMs.length === 0)
    throw new Error(`no request was sent and answered within ${windowEndMs - from} ms`);
  if (right < order.minRight * answered)
    throw new Error(`${answered - right} of ${answered} answers were wrong digits`);
  latenciesMs.sort((a, b) => a - b);
  return {
    requestsPerSecond: (completed * 1000) / (windowEndMs - from),
    p50Ms: percentile(latenciesMs, 0.5),
    p99Ms: percentile(latenciesMs, 0.99),
    requests: answered,
    right,
    cpuShare: (cpu.user + cpu.system) / 1000 / elapsedMs,
    cpuUsPerRequest: (cpu.user + cpu.system) / answered,
  };
}

/** Smallest sample that at least `share` of all samples do not exceed (nearest rank). */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!;
}
