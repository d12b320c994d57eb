/**
 * Whether a canary has crossed its bounds. Its error rate counts only where it is above production's too: what both
 * suffer from, a rolled back canary would not heal.
 */

import type { Canary } from "../protocol/models.ts";
import type { VersionTally } from "../protocol/rollout.ts";

type Bounds = NonNullable<Canary["bounds"]> & { minRequests: number };

export type Verdict = { cause: "errorRate" | "latency"; reason: string };

/** Undefined: there is nothing against it so far. Both tallies are of the same span of time. */
export function judgeCanary(
  canary: VersionTally,
  production: VersionTally,
  { errorRate, latencyRatio, minRequests }: Bounds,
): Verdict | undefined {
  if (canary.requests < minRequests) return undefined;
  const [failed, failedBefore] = [rateOf(canary), rateOf(production)];
  if (errorRate !== undefined && failed > errorRate && failed > failedBefore)
    return {
      cause: "errorRate",
      reason:
        `${countOf(canary)} failed, more than the ${percent(errorRate)} allowed; ` +
        `of production's, ${countOf(production)}`,
    };
  const answered = Math.min(...[canary, production].map(({ requests, failures }) => requests - failures));
  const { p95Ms } = canary;
  const beforeMs = production.p95Ms;
  if (latencyRatio === undefined || answered < minRequests || p95Ms === null || beforeMs === null)
    return undefined;
  const ratio = p95Ms / beforeMs;
  if (ratio <= latencyRatio) return undefined;
  return {
    cause: "latency",
    reason:
      `95% of ${canary.requests} requests took up to ${round(p95Ms)} ms, ${round(ratio)} times production's ` +
      `${round(beforeMs)} ms, more than the ${latencyRatio} times allowed`,
  };
}

function rateOf({ requests, failures }: VersionTally): number {
  return requests === 0 ? 0 : failures / requests;
}

function countOf(tally: VersionTally): string {
  return `${tally.failures} of ${tally.requests} requests (${percent(rateOf(tally))})`;
}

function percent(rate: number): string {
  return `${round(rate * 100)}%`;
}

/** Three significant digits. */
function round(value: number): number {
  return Number(value.toPrecision(3));
}
