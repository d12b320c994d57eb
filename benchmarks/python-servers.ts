/**
 * How the model servers in Python are started and asked, each as its own documentation advises for throughput: as many
 * workers as cores, each run in one thread, and dynamic batching wherever it is offered. Their scripts are in
 * contestants/, their environments in peers/peers.ts.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import type { Children } from "./children.ts";
import { type Endpoint, JSON_HEADERS } from "./endpoint.ts";
import { freePort } from "./free-port.ts";
import { type DigitImage, IMAGE_PIXELS } from "./mnist.ts";
import type { ServerName } from "./paths.ts";
import { PYTHON_PEERS, pythonOf } from "./peers/peers.ts";
import type { Server } from "./servers.ts";

const CONTESTANTS_DIRECTORY = join(import.meta.dirname, "contestants");
const SERVICE_NAME = "digits";
const MAX_BATCH = 32;
const MAX_BATCH_SECONDS = 0.001;

/** What peers may need: the served model as ONNX, a Keras file of the same architecture, a folder of their own. */
export type PeerModels = { onnx: string; keras: string; directory: string };

type PythonServer = {
  /** @returns the program, of the peer's environment, and its arguments */
  command(port: number, workers: number, models: PeerModels): string[];
  env?: Record<string, string>;
  path: string;
  body: (image: DigitImage) => object;
};

const image = ({ pixels }: DigitImage): object => ({ image: [...pixels] });
const script = (name: string): string => join(CONTESTANTS_DIRECTORY, name);
const uvicorn = (port: number, workers: number): string[] => [
  ...["uvicorn", "fastapi_serve:app", "--app-dir", CONTESTANTS_DIRECTORY, "--port", String(port)],
  ...["--workers", String(workers), "--log-level", "warning", "--no-access-log"],
  // A stopped worker is no dead one.
  ...["--timeout-worker-healthcheck", "3600"],
];

const SERVERS = {
  flask: {
    command: (port, _workers, { keras }) => ["python", script("flask_serve.py"), keras, String(port)],
    env: { KERAS_BACKEND: "tensorflow", TF_CPP_MIN_LOG_LEVEL: "2" },
    path: "/predict",
    body: image,
  },
  fastapi: { command: (port) => uvicorn(port, 1), path: "/predict", body: image },
  fastapi2: { command: (port) => uvicorn(port, 2), path: "/predict", body: image },
  litserve: {
    command: (port, workers) => ["python", script("litserve_serve.py"), String(port), String(workers)],
    path: "/predict",
    body: image,
  },
  bentoml: {
    command: (port) => [
      ...["bentoml", "serve", "bentoml_serve:Digits", "--working-dir", CONTESTANTS_DIRECTORY],
      ...["--host", "127.0.0.1", "--port", String(port), "--do-not-track", "--quiet"],
    ],
    path: "/predict",
    body: ({ pixels }) => ({ images: [[...pixels]] }),
  },
  mlserver: {
    command: (port, workers, models) => ["mlserver", "start", mlserverFolder(port, workers, models)],
    path: `/v2/models/${SERVICE_NAME}/infer`,
    body: ({ pixels }) => ({
      inputs: [{ name: "image", shape: [1, IMAGE_PIXELS], datatype: "UINT8", data: [...pixels] }],
    }),
  },
  rayserve: {
    command: (port, workers) => ["python", script("rayserve_serve.py"), String(port), String(workers)],
    // Its workers would otherwise yield to the load generator.
    env: { RAY_SERVE_THROUGHPUT_OPTIMIZED: "1", RAY_worker_niceness: "0", RAY_USAGE_STATS_ENABLED: "0" },
    path: "/",
    body: image,
  },
} as const satisfies Partial<Record<ServerName, PythonServer>>;

export type PythonServerName = keyof typeof SERVERS;

export function isPythonServer(name: ServerName): name is PythonServerName {
  return name in SERVERS;
}

export async function startPythonServer(
  children: Children,
  name: PythonServerName,
  models: PeerModels,
): Promise<Server> {
  const { command, env, path, body }: PythonServer = SERVERS[name];
  const port = await freePort();
  const workers = availableParallelism();
  const binaries = dirname(pythonOf(PYTHON_PEERS[name]));
  const [program, ...args] = command(port, workers, models);
  const child = children.start({
    name: `serve-${name}`,
    command: join(binaries, program!),
    args,
    env: {
      PYTHONDONTWRITEBYTECODE: "1",
      PYTHONUNBUFFERED: "1",
      PYTHONPATH: CONTESTANTS_DIRECTORY,
      PATH: `${binaries}:${process.env.PATH}`,
      HOME: models.directory,
      MODEL: models.onnx,
      WORKERS: String(workers),
      ...env,
    },
  });
  const json: Endpoint = {
    url: `http://127.0.0.1:${port}${path}`,
    headers: JSON_HEADERS,
    answers: "json",
    body: (digit) => Buffer.from(JSON.stringify(body(digit))),
  };
  return { child, endpoints: { json } };
}

/** Adaptive batching and parallel workers are settings in files. */
function mlserverFolder(port: number, workers: number, { directory }: PeerModels): string {
  const folder = join(directory, "mlserver");
  mkdirSync(folder, { recursive: true });
  const write = (file: string, settings: object) =>
    writeFileSync(join(folder, file), JSON.stringify(settings));
  write("settings.json", {
    debug: false,
    host: "127.0.0.1",
    http_port: port,
    grpc_port: port + 1,
    metrics_endpoint: null,
    parallel_workers: workers,
  });
  write("model-settings.json", {
    name: SERVICE_NAME,
    implementation: "mlserver_digits.Digits",
    max_batch_size: MAX_BATCH,
    max_batch_time: MAX_BATCH_SECONDS,
  });
  return folder;
}
