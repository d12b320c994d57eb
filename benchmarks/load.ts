/**
 * The load generator, a process of its own: asks a server for a while, checks every answer, and reports requests per
 * second and percentiles of latencies. Either keeps a number of connections busy (closed-loop.ts) or sends at random
 * times of a given rate, whether or not the server keeps up (open-loop.ts). The rate counts answers inside the measured
 * window; latencies are those of all requests that belong into it, also when their answer came later, so that a slow
 * server's longest waits are not cut off.
 *
 * Line protocol: a `LoadOrder` on stdin, a `LoadResult` on stdout, until stdin ends.
 */

import { createInterface } from "node:readline";
import type { AnswerForm } from "./answer.ts";
import { closedLoop } from "./closed-loop.ts";
import { type Arrivals, openLoop } from "./open-loop.ts";
import { Tally } from "./tally.ts";
import { transportTo } from "./transport.ts";

/** Longest measured window, in durations. */
export const MAX_EXTENSION = 10;
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
  /** @default a closed loop */
  arrivals?: Arrivals;
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

/** One request as it is sent, and what must come back. */
export type PreparedRequest = { bytes: Buffer; digit: number };

/** When what happens, in `performance.now()`. */
export type Schedule = { untilMs: number; latestMs: number; deadlineMs: number };

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
  const startedMs = performance.now();
  const cpuBefore = process.cpuUsage();
  const tally = new Tally(answers, startedMs + order.warmUpMs);
  const latestMs = tally.fromMs + order.durationMs * MAX_EXTENSION;
  const schedule: Schedule = {
    untilMs: tally.fromMs + order.durationMs,
    latestMs,
    deadlineMs: latestMs + DRAIN_DEADLINE_MS,
  };
  const { connections, arrivals } = order;
  await (arrivals
    ? openLoop({ transport, requests, connections, tally, schedule, arrivals })
    : closedLoop({ transport, requests, connections, tally, schedule }));
  const elapsedMs = performance.now() - startedMs;
  const cpu = process.cpuUsage(cpuBefore);
  tally.check(order.minRight);
  return {
    ...tally.figures(),
    requests: tally.answered,
    right: tally.right,
    cpuShare: (cpu.user + cpu.system) / 1000 / elapsedMs,
    cpuUsPerRequest: (cpu.user + cpu.system) / tally.answered,
  };
}
