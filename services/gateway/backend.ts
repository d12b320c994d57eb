/** What route handlers need from the node they run on; the service makes one of it. */

import type { Config } from "../../lib/config.ts";
import type { BodyLimits } from "../../lib/http/body.ts";
import type { Call } from "../../lib/protocol/actions.ts";
import type { JobStreams } from "./job-streams.ts";
import type { MetadataCache } from "./metadata-cache.ts";

export type Backend = {
  call: Call;
  /** What the server says it is. */
  server: Config["server"];
  /** Deadline of a prediction. */
  predictTimeoutMs: number;
  bodyLimits: BodyLimits;
  /** Answers `POST /predict` when the body names no model. */
  defaultModel: string;
  metadata: MetadataCache;
  streams: JobStreams;
  /** Whether the gateway is shutting down. */
  draining: () => boolean;
  /** All metrics of this node as Prometheus text. */
  metricsText: () => string;
};
