/** What a rollout has come to on one node. */

/** Requests over a span of time that had an answer, or a failure that was not the client's. */
export type VersionTally = {
  requests: number;
  failures: number;
  /** 95th percentile of what was computed, queue included; null before there is any. */
  p95Ms: number | null;
};

/** Whether a version of a rollout is there: `absent` until the node begins to load it. */
export type RolloutState = "absent" | "loading" | "ready" | "failed" | "unloading";

export type CanaryReport = {
  version: number;
  weight: number;
  state: RolloutState;
  /** Why it failed to load; else empty. */
  reason: string;
  /** Since it was set: requests that it was given, failures it is to blame for, and those that production answered. */
  requests: number;
  failures: number;
  answeredByProduction: number;
  /** What its bounds are compared with: both versions over the same last minutes. */
  recent: { canary: VersionTally; production: VersionTally };
  /** Why this node has given it up; empty while it has not. */
  rollBack: string;
};

export type ShadowReport = {
  version: number;
  share: number;
  state: RolloutState;
  reason: string;
  /** Copies by what became of them: answers alike, not alike, none; and those not made, for want of room. */
  matched: number;
  differed: number;
  failed: number;
  dropped: number;
  /** Among those that differed, answers with another class: another highest score in a row. */
  classesDiffered: number;
  /** Largest distance between two elements so far. */
  maxDifference: number;
  /** Why the newest that failed did; else empty. */
  lastFailure: string;
  /** Of the requests that were copied. */
  p95Ms: { shadow: number | null; production: number | null };
};

export type RolloutReport = {
  model: string;
  nodeID: string;
  /** Undefined: there is none, or this node has not heard of it. */
  canary?: CanaryReport;
  shadow?: ShadowReport;
};
