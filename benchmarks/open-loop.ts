/**
 * Requests at random times that owe nothing to the server: gaps are drawn from an exponential distribution (Poisson
 * arrivals), the same for every server that is asked with the same seed. A request whose time has come takes a free
 * connection, or waits for one; its latency counts from its time, so that neither a slow server nor a late generator
 * hides what a caller would have waited. Every request of the window is answered before it returns.
 */

import { Worker } from "node:worker_threads";
import { RandomStream } from "../lib/random/stream.ts";
import type { Loop } from "./closed-loop.ts";
import type { Asked } from "./tally.ts";
import type { Client } from "./transport.ts";

/** How often due requests are looked for: finer than the event loop's own timers, which are of a millisecond. */
const TICK_MS = 0.25;

export type Arrivals = { perSecond: number; seed: number };

export async function openLoop({
  transport,
  requests,
  connections,
  tally,
  schedule: { untilMs, deadlineMs },
  arrivals,
}: Loop & { arrivals: Arrivals }): Promise<void> {
  const times = arrivalTimes(arrivals, performance.now(), untilMs);
  const idle: ((asked: Asked, bytes: Buffer) => void)[] = [];
  const clients: Client[] = [];
  let next = 0;
  let answered = 0;

  await new Promise<void>((resolve) => {
    const finish = (): void => {
      clearTimeout(deadline);
      ticker.stop();
      for (const client of clients) client.close();
      tally.end(untilMs);
      resolve();
    };
    const sendDue = (): void => {
      const now = performance.now();
      if (now >= untilMs) tally.end(untilMs);
      while (idle.length > 0 && next < times.length && times[next]! <= now) {
        const request = next % requests.length;
        const { bytes, digit } = requests[request]!;
        idle.pop()!({ sinceMs: times[next]!, digit, request }, bytes);
        next++;
      }
    };
    const settle = (): void => {
      answered++;
      if (answered === times.length || tally.failed) finish();
      else sendDue();
    };
    const deadline = setTimeout(() => {
      tally.fail(`${times.length - answered} of ${times.length} requests unanswered at the deadline`);
      finish();
    }, deadlineMs - performance.now());
    const ticker = startTicker(sendDue);
    for (let i = 0; i < connections; i++) {
      let asked: Asked;
      const send = (one: Asked, bytes: Buffer): void => {
        asked = one;
        client.send(bytes);
      };
      const client = transport.open({
        onAnswer: (answer) => {
          tally.take(answer, asked);
          idle.push(send);
          settle();
        },
        onBroken: (reason) => {
          tally.fail(reason);
          idle.push(send);
          settle();
        },
      });
      clients.push(client);
      idle.push(send);
    }
    if (times.length === 0) finish();
  });
}

/** From `fromMs` to before `untilMs`, ascending. */
export function arrivalTimes({ perSecond, seed }: Arrivals, fromMs: number, untilMs: number): number[] {
  const random = RandomStream.named(seed, "arrivals");
  const times: number[] = [];
  for (let at = fromMs; ; ) {
    at += (-Math.log(1 - random.uniform()) * 1000) / perSecond;
    if (at >= untilMs) return times;
    times.push(at);
  }
}

/** Calls back every `TICK_MS`, or as soon after as this thread has time. */
function startTicker(onTick: () => void): { stop: () => void } {
  const told = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(
    `const { parentPort, workerData: { told, tickMs } } = require("node:worker_threads");
     const never = new Int32Array(new SharedArrayBuffer(4));
     for (;;) {
       Atomics.wait(never, 0, 0, tickMs);
       if (Atomics.exchange(told, 0, 1) === 0) parentPort.postMessage(0);
     }`,
    { eval: true, workerData: { told, tickMs: TICK_MS } },
  );
  worker.on("message", () => {
    Atomics.store(told, 0, 0);
    onTick();
  });
  return { stop: () => void worker.terminate() };
}
