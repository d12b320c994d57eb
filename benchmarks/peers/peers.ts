/**
 * The peers that benchmarks compare Moiety with: which Python packages each needs, where its environment lies, and
 * which of them this machine lacks. `npm run bench:peers` installs them and writes the status file that
 * `missingPeers` reads. To add a peer: one entry here, one pinned line in requirements.txt, one contestant.
 */

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** Everything the benchmarks keep between runs: the Python environment, trained peers, logs. Ignored by git. */
export const BENCH_DIRECTORY = resolve(import.meta.dirname, "..", "..", ".bench");
export const VENV_DIRECTORY = join(BENCH_DIRECTORY, "venv");
export const PYTHON = join(VENV_DIRECTORY, "bin", "python");
export const STATUS_FILE = join(BENCH_DIRECTORY, "peers.json");
export const REQUIREMENTS_FILE = join(import.meta.dirname, "requirements.txt");

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

/** Of `peers`, those that are Python peers and not usable on this machine, each with the reason. */
export function missingPeers(peers: readonly string[], statusFile: string = STATUS_FILE): MissingPeer[] {
  const python = peers.filter((peer) => peer in PYTHON_PEERS);
  let statuses: PeerStatus[];
  try {
    statuses = JSON.parse(readFileSync(statusFile, "utf8")) as PeerStatus[];
  } catch {
    return python.map((peer) => ({ peer, reason: "not installed; run: npm run bench:peers" }));
  }
  return python.flatMap((peer) => {
    const status = statuses.find((s) => s.peer === peer);
    if (status?.installed) return [];
    return [{ peer, reason: status?.reason ?? "not installed; run: npm run bench:peers" }];
  });
}
