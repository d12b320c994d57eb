/**
 * The peers that benchmarks compare Moiety with: which packages each needs, where its environment lies, and which of
 * them this machine lacks. `npm run bench:peers` installs them and writes the status file that
 * `missingPeers` reads. To add a Python peer: one entry here, one pinned line in requirements.txt, one contestant.
 */

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** Everything the benchmarks keep between runs: the Python environment, trained peers, logs. Ignored by git. */
export const BENCH_DIRECTORY = resolve(import.meta.dirname, "..", "..", ".bench");
export const VENV_DIRECTORY = join(BENCH_DIRECTORY, "venv");
export const PYTHON = join(VENV_DIRECTORY, "bin", "python");
export const STATUS_FILE = join(BENCH_DIRECTORY, "peers.json");
export const REQUIREMENTS_FILE = join(import.meta.dirname, "requirements.txt");

/** TensorFlow.js on its native library lives in a folder of its own: its install script downloads that library. */
export const TFJS_DIRECTORY = join(BENCH_DIRECTORY, "tfjs");
export const TFJS_PACKAGE = "@tensorflow/tfjs-node";
export const TFJS_VERSION = "4.22.0";
/** The peer's name. */
export const TFJS_PEER = "tfjsnode";

export type PythonPeer = {
  /** Distributions, pinned by requirements.txt. */
  packages: readonly string[];
  /** Modules that must import for the peer to count as installed. */
  modules: readonly string[];
};

const KERAS: PythonPeer = {
  packages: ["keras", "tensorflow-cpu", "numpy"],
  modules: ["tensorflow", "keras"],
};
const FASTAPI: PythonPeer = {
  packages: ["fastapi", "uvicorn[standard]", "onnxruntime", "numpy"],
  modules: ["fastapi", "uvicorn", "uvloop", "httptools", "onnxruntime"],
};

export const PYTHON_PEERS = {
  keras: KERAS,
  torch: { packages: ["torch", "numpy"], modules: ["torch"] },
  flask: { packages: [...KERAS.packages, "flask"], modules: [...KERAS.modules, "flask"] },
  fastapi: FASTAPI,
  fastapi2: FASTAPI,
} as const satisfies Record<string, PythonPeer>;

export type PeerStatus = {
  peer: string;
  installed: boolean;
  reason?: string;
  versions?: Record<string, string>;
};
export type MissingPeer = { peer: string; reason: string };

/** Of `peers`, those that have to be installed and are not usable on this machine, each with the reason. */
export function missingPeers(peers: readonly string[], statusFile: string = STATUS_FILE): MissingPeer[] {
  const foreign = peers.filter((peer) => peer in PYTHON_PEERS || peer === TFJS_PEER);
  let statuses: PeerStatus[];
  try {
    statuses = JSON.parse(readFileSync(statusFile, "utf8")) as PeerStatus[];
  } catch {
    return foreign.map((peer) => ({ peer, reason: "not installed; run: npm run bench:peers" }));
  }
  return foreign.flatMap((peer) => {
    const status = statuses.find((s) => s.peer === peer);
    if (status?.installed) return [];
    return [{ peer, reason: status?.reason ?? "not installed; run: npm run bench:peers" }];
  });
}
