/**
 * Keeps a number of connections busy, each with one request in flight: the server sets the pace. The window is longer
 * for a server that has not answered two requests on each connection by its end.
 */

import type { PreparedRequest, Schedule } from "./load.ts";
import type { Asked, Tally } from "./tally.ts";
import type { Transport } from "./transport.ts";

const MIN_ANSWERS_PER_CONNECTION = 2;
const BROKEN_PAUSE_MS = 50;

export type Loop = {
  transport: Transport;
  requests: readonly PreparedRequest[];
  connections: number;
  tally: Tally;
  schedule: Schedule;
};

export async function closedLoop({
  transport,
  requests,
  connections,
  tally,
  schedule: { untilMs, latestMs, deadlineMs },
}: Loop): Promise<void> {
  let sent = 0;

  const windowEnded = (now: number): boolean => {
    const enough = tally.completed >= connections * MIN_ANSWERS_PER_CONNECTION || now >= latestMs;
    if (tally.failed || (now >= untilMs && enough)) tally.end(now);
    return tally.ended;
  };

  const client = (): Promise<void> =>
    new Promise((resolve) => {
      let asked: Asked;
      const next = (): void => {
        const now = performance.now();
        if (windowEnded(now)) {
          connection.close();
          clearTimeout(deadline);
          resolve();
          return;
        }
        const request = sent++ % requests.length;
        const { bytes, digit } = requests[request]!;
        asked = { sinceMs: now, digit, request };
        connection.send(bytes);
      };
      const connection = transport.open({
        onAnswer: (answer) => {
          tally.take(answer, asked);
          next();
        },
        onBroken: (reason) => {
          tally.fail(reason);
          setTimeout(next, BROKEN_PAUSE_MS);
        },
      });
      const deadline = setTimeout(() => {
        tally.fail("no answer before the deadline");
        connection.close();
        resolve();
      }, deadlineMs - performance.now());
      next();
    });

  await Promise.all(Array.from({ length: connections }, client));
  tally.end(latestMs);
}
