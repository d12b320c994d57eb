/**
 * One broker configuration for embedded and cluster mode; `MOIETY_*` variables choose (see lib/config.ts).
 * Every default that differs from Moleculer's says why.
 */

import type { BrokerOptions, Middleware } from "moleculer";
import { type Config, readConfig } from "./lib/config.ts";
import { silenceRuntime } from "./lib/runtime/telemetry.ts";
import { keepRequestsYoung } from "./lib/runtime/young-heap.ts";
import "./mixins/config.ts";
import { BalanceStrategy, balanceMiddleware } from "./mixins/balance.ts";
import { callMetricsMiddleware } from "./mixins/call-metrics.ts";
import { cancellationMiddleware } from "./mixins/cancellation.ts";
import { eventLoopMiddleware } from "./mixins/event-loop.ts";
import { livenessMiddleware } from "./mixins/liveness.ts";
import { metricsPageMiddleware } from "./mixins/metrics-page.ts";
import { NatsTransporter } from "./mixins/nats-transporter.ts";
import { PrometheusReporter } from "./mixins/prometheus-reporter.ts";
import { isWorthRetrying, quietRetryMiddleware } from "./mixins/retry.ts";
import { type LogLevel, StderrLogger } from "./mixins/stderr-logger.ts";

/** Deadline of calls that name none. Long work is a job, not a call. */
const REQUEST_TIMEOUT_MS = 30_000;

/** Options for one broker; make new ones for each. */
export function brokerOptions(config: Config): BrokerOptions {
  silenceRuntime();
  keepRequestsYoung();
  const cluster = config.mode === "cluster";
  return {
    moiety: config,
    namespace: config.namespace,
    ...(config.nodeID ? { nodeID: config.nodeID } : {}),

    // Standard output belongs to what commands print as their result.
    logger: new StderrLogger(config.logLevel as LogLevel),

    // Typed arrays stay typed arrays; JSON and Notepack break them.
    serializer: "CBOR",
    transporter: cluster
      ? new NatsTransporter({ url: config.natsUrl, reconnectTimeWait: 250, maxReconnectAttempts: -1 })
      : null,
    // Halved: liveness finds dead processes, so these find only those that hang.
    heartbeatInterval: 5,
    heartbeatTimeout: 20,

    // Moleculer's default is none: a lost message would be waited for until the end of time.
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Only idempotent actions opt in, with `retryPolicy: { enabled: true }`; the check and the delays are the
    // caller's, because functions do not travel between nodes.
    retryPolicy: { enabled: false, retries: 3, delay: 20, maxDelay: 500, factor: 2, check: isWorthRetrying },
    // The strategy puts this process first, where that is right; Moleculer would not let it see the others.
    registry: { strategy: BalanceStrategy, preferLocal: false },
    // A call graph this deep is a loop.
    maxCallLevel: 20,
    contextParamsCloning: false,
    validator: true,

    // Without it, stop() drops requests in flight.
    tracking: { enabled: true, shutdownTimeout: 10_000 },

    // An instance is accepted, though the typings only know names.
    metrics: { enabled: true, reporter: new PrometheusReporter() as unknown as "Prometheus" },
    // Moleculer's own, in its order, with "Metrics" at a tenth of the cost per call and a quieter "Retry".
    internalMiddlewares: false,
    middlewares: [
      eventLoopMiddleware(),
      ...(config.metricsPort > 0 ? [metricsPageMiddleware(config.http.host, config.metricsPort)] : []),
      ...(cluster ? [livenessMiddleware(), cancellationMiddleware()] : []),
      ...["ActionHook", "Validator", "Bulkhead", "Cacher", "ContextTracker", "CircuitBreaker", "Timeout"],
      ...(cluster ? [balanceMiddleware()] : []),
      // Functions of the broker are accepted, though the typings do not say so.
      quietRetryMiddleware as unknown as Middleware,
      ...["Fallback", "ErrorHandler", "Tracing"],
      callMetricsMiddleware as unknown as Middleware,
      ...["Debounce", "Throttle"],
    ],

    // The REPL asks `$node` what there is.
    internalServices: true,
    // The command line stops what it started, in order; Moleculer would exit the process on its own.
    skipProcessEventRegistration: true,
  };
}

/** For `moleculer-runner`. The environment is read only when asked, so that importing this file cannot fail. */
export default (): BrokerOptions => brokerOptions(readConfig(process.env));
