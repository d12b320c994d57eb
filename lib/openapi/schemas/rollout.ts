/** Schemas of canaries and shadows. */

import {
  arrayOf,
  between,
  described,
  enumOf,
  integer,
  number,
  object,
  ref,
  type Schema,
  string,
} from "../schema.ts";

const time = described("ISO 8601, UTC", string);
const share: Schema = { type: "number", exclusiveMinimum: 0, maximum: 1 };
const count = integer(0);
const milliseconds: Schema = { type: ["number", "null"], minimum: 0 };
const tally = object({ requests: count, failures: count, p95Ms: milliseconds });
const part = {
  version: integer(1),
  state: described(
    "Whether the node has the version",
    enumOf(["absent", "loading", "ready", "failed", "unloading"]),
  ),
  reason: string,
};

export const ROLLOUT_SCHEMAS: Readonly<Record<string, Schema>> = {
  Canary: object(
    {
      version: integer(1),
      weight: described("Part of the requests that name no version, or production", share),
    },
    {
      bounds: described(
        "Crossing one of them rolls the canary back",
        object(
          {},
          {
            errorRate: described("Most of its requests that may fail", between(0, 1)),
            latencyRatio: described("95th percentile as a multiple of production's", between(1, 1000)),
            minRequests: described("Requests to see before anything is judged", integer(1, 100_000)),
          },
        ),
      ),
    },
  ),
  Shadow: object(
    { version: integer(1) },
    {
      share: described("Part of production's requests that are copied", share),
      tolerance: described("Largest difference between two numbers of the same answer", {
        ...number,
        minimum: 0,
      }),
    },
  ),
  Rollout: object({}, { canary: ref("Canary"), shadow: ref("Shadow") }),
  RolloutRecord: object({ startedAt: time }, { canary: ref("Canary"), shadow: ref("Shadow") }),
  RollBack: object({ version: integer(1), at: time, reason: string }),
  RolloutStatus: object(
    { model: string, rollbacks: arrayOf(ref("RollBack")), nodes: arrayOf(ref("NodeRollout")) },
    { rollout: ref("RolloutRecord") },
  ),
  NodeRollout: object(
    { model: string, nodeID: string },
    {
      canary: object({
        ...part,
        weight: share,
        requests: count,
        failures: count,
        answeredByProduction: count,
        recent: object({ canary: tally, production: tally }),
        rollBack: described("Why the node has given it up; empty while it has not", string),
      }),
      shadow: object({
        ...part,
        share,
        matched: count,
        differed: count,
        failed: count,
        dropped: count,
        classesDiffered: count,
        maxDifference: number,
        lastFailure: string,
        p95Ms: object({ shadow: milliseconds, production: milliseconds }),
      }),
    },
  ),
};
