/** Whether a server or a model takes requests, asked the same way whatever protocol the answer leaves by. */

import { errorMessage } from "../../lib/errors.ts";
import type { Readiness } from "../../lib/protocol/inference.ts";
import type { Backend } from "./backend.ts";

const TIMEOUT_MS = 2_000;
const STOPPING: Readiness = { ready: false, reason: "the gateway is shutting down" };

/** Never rejects: a cluster that cannot be asked is not ready. */
export async function serverReadiness(backend: Backend): Promise<Readiness> {
  if (backend.draining()) return STOPPING;
  try {
    return await backend.call("inference.ready", {}, { timeout: TIMEOUT_MS });
  } catch (error) {
    return { ready: false, reason: errorMessage(error) };
  }
}

/** Rejects with what the inference service answers, as for a model that is not known. */
export async function modelReadiness(
  backend: Backend,
  reference: { model: string; version?: string },
): Promise<Readiness> {
  return backend.draining() ? STOPPING : backend.call("inference.ready", reference, { timeout: TIMEOUT_MS });
}
