/**
 * `GET /openapi.json`, the description of everything the gateway answers, and `GET /docs`, a page to browse it. The page
 * is one file of ours (web/docs), with its style and script inside, so that it needs no internet and one route; its
 * security policy allows these two and nothing else.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { json, type Reply, type Route } from "../../lib/http/exchange.ts";
import { openApiDocument } from "../../lib/openapi/document.ts";
import type { Backend } from "./backend.ts";

const HTML_TYPE = "text/html; charset=utf-8";

/** @param all every route, these among them */
export function documentationRoutes(backend: Backend, all: () => readonly Route[]): Route[] {
  const page = readPage();
  let description: Reply | undefined;
  const describe = (): Reply => (description ??= json(openApiDocument(backend.server, all())));
  return [
    { method: "GET", path: "/openapi.json", handle: describe },
    {
      method: "GET",
      path: "/docs",
      handle: () => ({ status: 200, body: page.html, contentType: HTML_TYPE, headers: page.headers }),
    },
  ];
}

function readPage(): { html: string; headers: Record<string, string> } {
  const source = (name: string) => readFileSync(new URL(`../../web/docs/${name}`, import.meta.url), "utf8");
  const [style, script] = [source("page.css"), source("page.js")];
  const html = source("page.html")
    .replace("/* page.css */", () => style)
    .replace("/* page.js */", () => script);
  const policy = [
    "default-src 'none'",
    `style-src ${hashOf(style)}`,
    `script-src ${hashOf(script)}`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return { html, headers: { "Content-Security-Policy": policy.join("; ") } };
}

function hashOf(text: string): string {
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
