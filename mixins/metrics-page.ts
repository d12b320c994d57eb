/**
 * A node's own Prometheus page, for nodes without a gateway: `MOIETY_METRICS_PORT` > 0 opens it. A port in use
 * stops the start.
 */

import { createServer } from "node:http";
import type { Middleware, ServiceBroker } from "moleculer";
import { listen } from "../lib/http/port.ts";
import { metricsTextOf } from "./prometheus-reporter.ts";

/** @throws {PortInUseError} from `broker.start()` */
export function metricsPageMiddleware(host: string, port: number): Middleware {
  let broker: ServiceBroker;
  const server = createServer((request, response) => {
    request.resume();
    const found = request.url === "/metrics";
    response.writeHead(found ? 200 : 404, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" });
    response.end(found ? metricsTextOf(broker) : "The metrics are at /metrics\n");
  });
  return {
    name: "MetricsPage",
    created(created) {
      broker = created;
    },
    starting: () => listen(server, host, port, "MOIETY_METRICS_PORT"),
    stopped: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
