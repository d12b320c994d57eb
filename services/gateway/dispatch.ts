/**
 * Routes as moleculer-web aliases: each route's function, HEAD beside every GET, and, after all of them, one alias
 * per path that takes any other method and answers 405 with what is allowed.
 */

import type { ServerResponse } from "node:http";
import type { IncomingRequest } from "moleculer-web";
import { MethodNotAllowedError } from "../../lib/errors.ts";
import { answer } from "../../lib/http/answer.ts";
import type { Method, Route } from "../../lib/http/exchange.ts";

export type ErrorHandler = (request: IncomingRequest, response: ServerResponse, error: unknown) => void;

export type Alias = (request: IncomingRequest, response: ServerResponse) => void;

/** Aliases in the order they must be tried. */
export function aliasesOf(routes: readonly Route[], onError: ErrorHandler): Record<string, Alias> {
  const aliases: Record<string, Alias> = {};
  const allowed = new Map<string, Method[]>();
  for (const route of routes) {
    const methods: Method[] = route.method === "GET" ? ["GET", "HEAD"] : [route.method];
    const others = allowed.get(route.path) ?? [];
    allowed.set(route.path, others);
    others.push(...methods);
    for (const method of methods)
      aliases[`${method} ${route.path}`] = runnerOf(route, method, others, onError);
  }
  for (const [path, methods] of allowed)
    aliases[`* ${path}`] = (request, response) => onError(request, response, notAllowed(request, methods));
  return aliases;
}

function runnerOf(route: Route, method: Method, allowed: readonly Method[], onError: ErrorHandler): Alias {
  return (request, response) => {
    // moleculer-web finds the alias of an OPTIONS request by the method it asks about.
    if (request.method !== method) return onError(request, response, notAllowed(request, allowed));
    void run(route, request, response, onError);
  };
}

/** Never rejects. */
async function run(
  { handle }: Route,
  request: IncomingRequest,
  response: ServerResponse,
  onError: ErrorHandler,
): Promise<void> {
  try {
    const { params } = request.$params as { params: Record<string, string> };
    const reply = await handle({ request, response, params });
    if (reply) answer(request, response, reply.status, reply.body, reply.contentType, reply.headers);
  } catch (error) {
    onError(request, response, error);
  }
}

function notAllowed(request: IncomingRequest, methods: readonly Method[]): MethodNotAllowedError {
  return new MethodNotAllowedError(request.method ?? "", pathOf(request), methods);
}

/** The path as the client asked for it. */
export function pathOf({ originalUrl, url }: IncomingRequest): string {
  return (originalUrl ?? url ?? "").split("?", 1)[0]!;
}
