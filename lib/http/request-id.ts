/** The id by which one request is known in answers and logs, here and at whoever sent it. */

import { randomUUID } from "node:crypto";

const PLAIN = /^[\w.:/+=-]{1,128}$/;

/** The caller's, when it is short and plain; else a new one. */
export function requestIdOf(given: unknown): string {
  return typeof given === "string" && PLAIN.test(given) ? given : randomUUID();
}
