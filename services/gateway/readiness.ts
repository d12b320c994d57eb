/** Whether a server or a model takes requests, asked the same way whatever protocol the answer leaves by. */

import { errorMessage } from "../../lib/errors.ts";
import type { Readiness } from "../../lib/protocol/inference.ts";
import type { Backend } from "./backend.ts";

const TIMEOUT_MS = 2_000;
/** Shorter than probes wait: a registry that hangs takes no gateway out of service. */
const FOLDERS_TIMEOUT_MS = 500;
const STOPPING: Readiness = { ready: false, reason: "the gateway is shutting down" };

/** Never rejects: a cluster that cannot be asked is not ready. */
export async function serverReadiness(backend: Backend): Promise<Readiness> {
  if (backend.draining()) return STOPPING;
  try {
    const [served, taken] = await Promise.all([
      backend.call("inference.ready", {}, { timeout: TIMEOUT_MS }),
      foldersReadiness(backend),
    ]);
    return served.ready ? (taken ?? served) : served;
  } catch (error) {
    return { ready: false, reason: errorMessage(error) };
  }
}

/** Not ready while models that lay in folders when the registry's node started are on their way to being served. */
async function foldersReadiness(backend: Backend): Promise<Readiness | undefined> {
  // What is served goes on being served without a registry.
  const nodes = await backend
    .callEach("registry.folders", {}, { timeout: FOLDERS_TIMEOUT_MS })
    .catch(() => []);
  const settled = nodes.every((node) => node.settled);
  return settled ? undefined : { ready: false, reason: "models from folders are being taken in" };
}

/** Rejects with what the inference service answers, as for a model that is not known. */
export async function modelReadiness(
  backend: Backend,
  reference: { model: string; version?: string },
): Promise<Readiness> {
  return backend.draining() ? STOPPING : backend.call("inference.ready", reference, { timeout: TIMEOUT_MS });
}
