/**
 * The peers that benchmarks compare Moiety with: which packages each needs, where its environment lies, and which of
 * them this machine lacks. `npm run bench:peers` installs them and writes the status file that
 * `missingPeers` reads. To add a Python peer: one entry here, one pinned line in its requirements, one contestant.
 */

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** Everything the benchmarks keep between runs: the Python environment, trained peers, logs. Ignored by git. */
export const BENCH_DIRECTORY = resolve(import.meta.dirname, "..", "..", ".bench");
export const STATUS_FILE = join(BENCH_DIRECTORY, "peers.json");

/** TensorFlow.js on its native library lives in a folder of its own: its install script downloads that library. */
export const TFJS_DIRECTORY = join(BENCH_DIRECTORY, "tfjs");
export const TFJS_PACKAGE = "@tensorflow/tfjs-node";
export const TFJS_VERSION = "4.22.0";
/** The peer's name. */
export const TFJS_PEER = "tfjsnode";

export type PythonPeer = {
  /** Peers whose packages get on with one another share an environment. */
  environment: Environment;
  /** Distributions, pinned by the environment's requirements. */
  packages: readonly string[];
  /** Modules that must import for the peer to count as installed. */
  modules: readonly string[];
};
/** Each is a folder of its own, with its pinned versions in `requirements/NAME.txt`. */
export type Environment = "common" | "litserve" | "bentoml" | "mlserver" | "rayserve";

const COMMON = "common";
const KERAS: PythonPeer = {
  environment: COMMON,
  packages: ["keras", "tensorflow-cpu", "numpy"],
  modules: ["tensorflow", "keras"],
};
const ONNX = { packages: ["onnxruntime", "numpy"], modules: ["onnxruntime", "numpy"] };
const FASTAPI: PythonPeer = {
  environment: COMMON,
  packages: ["fastapi", "uvicorn[standard]", ...ONNX.packages],
  modules: ["fastapi", "uvicorn", "uvloop", "httptools", ...ONNX.modules],
};
const server = (
  environment: Environment,
  distribution: string,
  module: string,
  more: readonly string[] = [],
): PythonPeer => ({
  environment,
  packages: [distribution, ...more, ...ONNX.packages],
  modules: [module, ...more, ...ONNX.modules],
});

export const PYTHON_PEERS = {
  keras: KERAS,
  torch: { environment: COMMON, packages: ["torch", "numpy"], modules: ["torch"] },
  flask: { ...KERAS, packages: [...KERAS.packages, "flask"], modules: [...KERAS.modules, "flask"] },
  fastapi: FASTAPI,
  fastapi2: FASTAPI,
  litserve: server("litserve", "litserve", "litserve"),
  bentoml: server("bentoml", "bentoml", "bentoml", ["uvloop", "httptools"]),
  mlserver: server("mlserver", "mlserver", "mlserver"),
  rayserve: server("rayserve", "ray[serve]", "ray.serve"),
} as const satisfies Record<string, PythonPeer>;

export function environmentDirectory(environment: Environment): string {
  return join(BENCH_DIRECTORY, environment === COMMON ? "venv" : join("envs", environment));
}

export function requirementsFile(environment: Environment): string {
  return join(import.meta.dirname, "requirements", `${environment}.txt`);
}

/** The interpreter of a peer's environment. */
export function pythonOf({ environment }: PythonPeer): string {
  return join(environmentDirectory(environment), "bin", "python");
}

/** The interpreter of the environment that most share. */
export const PYTHON = pythonOf(KERAS);

export type PeerStatus = {
  peer: string;
  installed: boolean;
  reason?: string;
  versions?: Record<string, string>;
};
export type MissingPeer = { peer: string; reason: string };

/** What the installation recorded; nothing before there was one. */
export function readStatuses(statusFile: string = STATUS_FILE): PeerStatus[] {
  try {
    return JSON.parse(readFileSync(statusFile, "utf8")) as PeerStatus[];
  } catch {
    return [];
  }
}

/** Of `peers`, those that have to be installed and are not usable on this machine, each with the reason. */
export function missingPeers(peers: readonly string[], statusFile: string = STATUS_FILE): MissingPeer[] {
  const foreign = peers.filter((peer) => peer in PYTHON_PEERS || peer === TFJS_PEER);
  const statuses = readStatuses(statusFile);
  return foreign.flatMap((peer) => {
    const status = statuses.find((s) => s.peer === peer);
    if (status?.installed) return [];
    return [{ peer, reason: status?.reason ?? "not installed; run: npm run bench:peers" }];
  });
}
