/**
 * One HTTP request and its answer, as route handlers see it: no framework in sight. A handler returns a `Reply`,
 * throws an error of the catalogue, or answers by itself (server-sent events) and returns undefined.
 */

import type { IncomingMessage, ServerResponse } from "node:http";

export type Exchange = {
  request: IncomingMessage;
  response: ServerResponse;
  /** Decoded path parameters. */
  params: Readonly<Record<string, string>>;
};

/** Text, or bytes in parts that leave one after another. Parts must not change until they have left. */
export type ReplyBody = string | readonly Uint8Array[];

export type Reply = {
  status: number;
  body: ReplyBody;
  /** @default application/json */
  contentType?: string;
  headers?: Readonly<Record<string, string>>;
};

export type Handler = (exchange: Exchange) => Promise<Reply | undefined> | Reply | undefined;

export type Method = "GET" | "HEAD" | "POST" | "PUT" | "DELETE";

/** `path` has named parameters: `/v2/models/:model`; a colon that begins none is written `\\:`. */
export type Route = {
  method: Method;
  path: string;
  handle: Handler;
  /**
   * For hot routes: the parameters of a URL that is plainly this route's (no query string, no escapes), found
   * without the router. Undefined leaves the request to the router.
   */
  recognise?: (url: string) => Record<string, string> | undefined;
};

/** A route's path as a URL template: `/v2/models/{model}`. */
export function pathTemplate(path: string): string {
  return path.replace(/(\\?):(\w+)/g, (_, escaped: string, name: string) =>
    escaped ? `:${name}` : `{${name}}`,
  );
}

export function json(value: unknown, status = 200, headers?: Readonly<Record<string, string>>): Reply {
  const reply = { status, body: JSON.stringify(value) };
  return headers ? { ...reply, headers } : reply;
}

/** The query string's parameters; requests without one cost nothing more than the look. */
export function queryOf(request: IncomingMessage): URLSearchParams {
  // The framework rewrites `url` relative to its route but leaves the query string in place.
  const url = request.url ?? "";
  const mark = url.indexOf("?");
  return new URLSearchParams(mark < 0 ? "" : url.slice(mark + 1));
}
