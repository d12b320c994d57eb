/**
 * Requests to routes. Routes are moleculer-web aliases: each route's function, HEAD beside every GET, and, after all of them, one alias
 * per path that takes any other method and answers 405 with what is allowed. Hot routes are recognised before the router.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { IncomingRequest } from "moleculer-web";
import { MethodNotAllowedError } from "../../lib/errors.ts";
import { answer } from "../../lib/http/answer.ts";
import type { Method, Route } from "../../lib/http/exchange.ts";

type Params = Readonly<Record<string, string>>;

export type ErrorHandler = (request: IncomingMessage, response: ServerResponse, error: unknown) => void;

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
    void run(route, (request.$params as { params: Params }).params, request, response, onError);
  };
}

/**
 * Runs a hot route without the router, which costs as much as the rest of the request: a context, a regular
 * expression per alias and several promises. False when the request is not plainly for one.
 */
export function hotDispatcher(
  routes: readonly Route[],
  onError: ErrorHandler,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  const hot = routes.filter(({ recognise }) => recognise !== undefined);
  return (request, response) => {
    for (const route of hot) {
      const params = request.method === route.method ? route.recognise!(request.url ?? "") : undefined;
      if (params === undefined) continue;
      void run(route, params, request, response, onError);
      return true;
    }
    return false;
  };
}

/** Never rejects. */
async function run(
  { handle }: Route,
  params: Params,
  request: IncomingMessage,
  response: ServerResponse,
  onError: ErrorHandler,
): Promise<void> {
  try {
    const reply = await handle({ request, response, params });
    if (reply) answer(request, response, reply.status, reply.body, reply.contentType, reply.headers);
  } catch (error) {
    onError(request, response, error);
  }
}

function notAllowed(request: IncomingMessage, methods: readonly Method[]): MethodNotAllowedError {
  return new MethodNotAllowedError(request.method ?? "", pathOf(request), methods);
}

/** The path as the client asked for it. */
export function pathOf(request: IncomingMessage): string {
  const { originalUrl, url } = request as Partial<IncomingRequest>;
  return (originalUrl ?? url ?? "").split("?", 1)[0]!;
}
