/** What route handlers need from the node they run on; the service makes one of it. */

import type { Config } from "../../lib/config.ts";
import type { AccessLog } from "../../lib/http/access-log.ts";
import type { BodyLimits } from "../../lib/http/body.ts";
import type { Call, CallEach } from "../../lib/protocol/actions.ts";
import type { JobStreams } from "./job-streams.ts";
import type { MetadataCache } from "./metadata-cache.ts";

export type Backend = {
  call: Call;
  /** Asks every node that offers the action. */
  callEach: CallEach;
  /** What the server says it is. */
  server: Config["server"];
  /** How models are served where their configuration does not say. */
  servingDefaults: Config["inference"];
  /** Deadline of a prediction. */
  predictTimeoutMs: number;
  bodyLimits: BodyLimits;
  /** Answers `POST /predict` when the body names no model. */
  defaultModel: string;
  metadata: MetadataCache;
  streams: JobStreams;
  /** Undefined: requests are not logged. */
  accessLog: AccessLog | undefined;
  /** Whether the gateway is shutting down. */
  draining: () => boolean;
  /** All metrics of this node as Prometheus text. */
  metricsText: () => string;
};
