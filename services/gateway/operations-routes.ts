/** `GET /metrics` for Prometheus, and `GET /`, the index of everything the gateway answers. */

import { json, pathTemplate, type Route } from "../../lib/http/exchange.ts";
import { PRODUCT } from "../../lib/product.ts";
import type { Backend } from "./backend.ts";

const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** @param others every other route, for the index */
export function operationsRoutes(backend: Backend, others: readonly Route[]): Route[] {
  const metrics: Route = {
    method: "GET",
    path: "/metrics",
    handle: () => ({ status: 200, body: backend.metricsText(), contentType: PROMETHEUS_TYPE }),
  };
  const routes = [...others, metrics].map(({ method, path }) => `${method} ${pathTemplate(path)}`).sort();
  const index = { ...PRODUCT, routes };
  return [metrics, { method: "GET", path: "/", handle: () => json(index) }];
}
