/**
 * Moiety, alone and as a cluster, and the bare server: how each is started, where it listens, how it is asked. Those in
 * Python are in python-servers.ts.
 */

import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Child, Children } from "./children.ts";
import { BARE_GRPC_PATH, bareRequest } from "./contestants/bare-grpc.ts";
import { type Endpoint, float32Bytes, JSON_HEADERS, RAW_HEADERS, uint8Bytes } from "./endpoint.ts";
import { moietyEndpoints, type TensorMetadata } from "./moiety-endpoints.ts";
import type { EndpointName } from "./paths.ts";
import { MODEL } from "./published-model.ts";

const ROOT_DIRECTORY = join(import.meta.dirname, "..");
const CONTESTANTS_DIRECTORY = join(import.meta.dirname, "contestants");
/** The first start trains the example model. */
const FIRST_START_DEADLINE_MS = 600_000;
const METADATA_DEADLINE_MS = 10_000;
const LISTENING_DEADLINE_MS = 60_000;
/** What Moiety's commands print once the model is served: where over HTTP and where over gRPC. */
const SERVING_LINE = /^Serving on (http:\/\/\S+?:\d+) and, over gRPC, on (\S+?:\d+)/;
const BARE_LINE = /^listening on (\S+) (\S+) (uint8|float32)$/;

export type Server = { child: Child; endpoints: Partial<Record<EndpointName, Endpoint>> };

export async function startBare(children: Children, onnx: string): Promise<Server> {
  const child = children.start({
    name: "serve-bare",
    command: process.execPath,
    args: [join(CONTESTANTS_DIRECTORY, "bare-serve.ts"), onnx, String(inferenceWorkers())],
  });
  const line = await child.line((text) => BARE_LINE.test(text), LISTENING_DEADLINE_MS);
  const [, http, grpc, elementType] = BARE_LINE.exec(line)!;
  const bytesOf = elementType === "uint8" ? uint8Bytes : float32Bytes;
  const raw: Endpoint = {
    url: `${http}/raw`,
    headers: RAW_HEADERS,
    answers: "scores",
    body: ({ pixels }) => bytesOf(pixels),
  };
  return {
    child,
    endpoints: {
      json: {
        url: `${http}/predict`,
        headers: JSON_HEADERS,
        answers: "json",
        body: ({ pixels }) => Buffer.from(JSON.stringify({ image: [...pixels] })),
      },
      binary: raw,
      grpc: {
        ...raw,
        url: `grpc://${grpc}${BARE_GRPC_PATH}`,
        answers: "message",
        body: ({ pixels }) => bareRequest(bytesOf(pixels)),
      },
    },
  };
}

/** Moiety in one process, on a data directory of its own. */
export function startEmbedded(
  children: Children,
  name: string,
  dataDirectory: string,
  env: Readonly<Record<string, string>> = {},
): Promise<Server> {
  return startMoiety(children, name, ["cli/start.ts"], {
    MOIETY_DATA_DIR: dataDirectory,
    MOIETY_INFERENCE_WORKERS: String(inferenceWorkers()),
    ...env,
  });
}

/** Moiety as processes that speak through NATS, as `npm run cluster` starts them. */
export function startCluster(children: Children): Promise<Server> {
  return startMoiety(children, "cluster", ["cli/cluster.ts"], {});
}

async function startMoiety(
  children: Children,
  name: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Server> {
  const child = children.start({
    name: `serve-${name}`,
    command: process.execPath,
    args: args.map((arg) => join(ROOT_DIRECTORY, arg)),
    env: { ...env, MOIETY_HTTP_PORT: "0", MOIETY_GRPC_PORT: "0" },
  });
  const line = await child.line((text) => SERVING_LINE.test(text), FIRST_START_DEADLINE_MS);
  const [, http = "", grpc = ""] = SERVING_LINE.exec(line)!;
  const model = `${http}/v2/models/${MODEL}`;
  const response = await fetch(model, { signal: AbortSignal.timeout(METADATA_DEADLINE_MS) });
  const { inputs } = (await response.json()) as { inputs?: TensorMetadata[] };
  if (!inputs?.[0]) throw new Error(`${name}: ${model} answered ${response.status} without inputs`);
  return { child, endpoints: moietyEndpoints({ http, grpc }, MODEL, inputs[0]) };
}

/** As many worker threads as Moiety takes by default. */
export function inferenceWorkers(): number {
  return Math.max(1, availableParallelism() - 1);
}
