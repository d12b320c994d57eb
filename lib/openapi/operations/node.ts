/** Operations about the node itself. */

import { type Operations, ok } from "../operation.ts";
import { any, arrayOf, mapOf, object, string } from "../schema.ts";

const tag = "Operations";

export const NODE_OPERATIONS: Operations = {
  "GET /": {
    tag,
    summary: "An index of all routes",
    answers: ok(
      "Method and path of each",
      object({ name: string, version: string, routes: arrayOf(string) }),
    ),
  },
  "GET /metrics": {
    tag,
    summary: "This node's metrics",
    answers: ok("For Prometheus", { byType: { "text/plain": string } }),
  },
  "GET /openapi.json": {
    tag,
    summary: "This description",
    answers: ok("OpenAPI 3.1", mapOf(any)),
  },
  "GET /docs": {
    tag,
    summary: "A page to browse this description, and to try it",
    answers: ok("The page", { byType: { "text/html": string } }),
  },
};
