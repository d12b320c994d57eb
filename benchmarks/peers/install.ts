/**
 * Makes the Python environments of the peers in .bench, with the versions pinned in requirements/, installs TensorFlow.js
 * with its native library in .bench/tfjs, and records for each peer whether it imports. A peer that cannot be installed
 * is no failure: the benchmarks go on without it and name it under `missing` with the reason recorded here. With names
 * of Python peers as arguments, only these are installed, and what was recorded of the others stays.
 *
 * PyTorch: the index has no CPU-only build for Linux on x86-64, and the build it has does not import without its
 * CUDA libraries, so those are installed too (about 5 GB on disk) and never used.
 */

import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  BENCH_DIRECTORY,
  environmentDirectory,
  type PeerStatus,
  PYTHON_PEERS,
  type PythonPeer,
  pythonOf,
  readStatuses,
  requirementsFile,
  STATUS_FILE,
  TFJS_DIRECTORY,
  TFJS_PACKAGE,
  TFJS_PEER,
  TFJS_VERSION,
} from "./peers.ts";

const VENV_DEADLINE_MS = 120_000;
const INSTALL_DEADLINE_MS = 30 * 60_000;
const IMPORT_DEADLINE_MS = 180_000;

mkdirSync(BENCH_DIRECTORY, { recursive: true });
const asked = process.argv.slice(2);
for (const name of asked)
  if (!(name in PYTHON_PEERS))
    throw new RangeError(`no Python peer ${name}; known: ${Object.keys(PYTHON_PEERS).join(", ")}`);
const outcomes = new Map<string, PeerStatus>();
const statuses = Object.entries(PYTHON_PEERS)
  .filter(([peer]) => asked.length === 0 || asked.includes(peer))
  .map(([peer, needs]: [string, PythonPeer]): PeerStatus => {
    const key = JSON.stringify(needs);
    const status = { ...(outcomes.get(key) ?? install(peer, needs)), peer };
    outcomes.set(key, status);
    console.log(
      `${peer}: ${status.installed ? JSON.stringify(status.versions) : `missing, ${status.reason}`}`,
    );
    return status;
  });
if (asked.length === 0) statuses.push(installTfjs());
const others = readStatuses().filter(({ peer }) => !statuses.some((status) => status.peer === peer));
writeFileSync(STATUS_FILE, `${JSON.stringify([...others, ...statuses], null, 2)}\n`);

/** The reason why no environment can be had, or undefined. */
function makeEnvironment(needs: PythonPeer): string | undefined {
  if (existsSync(pythonOf(needs))) return undefined;
  const venv = spawnSync("python3", ["-m", "venv", "--clear", environmentDirectory(needs.environment)], {
    encoding: "utf8",
    timeout: VENV_DEADLINE_MS,
  });
  return failure("python3 -m venv", venv);
}

function install(peer: string, needs: PythonPeer): PeerStatus {
  const unusable = makeEnvironment(needs);
  if (unusable) return { peer, installed: false, reason: unusable };
  const python = (args: readonly string[], timeout: number): SpawnSyncReturns<string> =>
    spawnSync(pythonOf(needs), args, { encoding: "utf8", timeout, maxBuffer: 64 * 2 ** 20 });
  console.log(`${peer}: installing ${needs.packages.join(", ")} …`);
  const pip = python(
    [
      "-m",
      "pip",
      "install",
      "--disable-pip-version-check",
      "--quiet",
      "-c",
      requirementsFile(needs.environment),
      ...needs.packages,
    ],
    INSTALL_DEADLINE_MS,
  );
  const problem = failure("pip install", pip);
  if (problem) return { peer, installed: false, reason: problem };
  const names = needs.packages.map((name) => name.replace(/\[.*\]/, ""));
  const probe = python(
    [
      "-c",
      `import json\nfrom importlib.metadata import version\n${needs.modules.map((m) => `import ${m}`).join("\n")}\n` +
        `print(json.dumps({name: version(name) for name in ${JSON.stringify(names)}}))`,
    ],
    IMPORT_DEADLINE_MS,
  );
  const broken = failure(`import ${needs.modules.join(", ")}`, probe);
  if (broken) return { peer, installed: false, reason: broken };
  const versions = JSON.parse(probe.stdout.trim().split("\n").at(-1) ?? "{}") as Record<string, string>;
  return { peer, installed: true, versions };
}

/** Lets the package fetch its native library, and loads it as the contestant will. */
function installTfjs(): PeerStatus {
  const wanted = `${TFJS_PACKAGE}@${TFJS_VERSION}`;
  console.log(`${TFJS_PEER}: installing ${wanted} …`);
  mkdirSync(TFJS_DIRECTORY, { recursive: true });
  writeFileSync(join(TFJS_DIRECTORY, "package.json"), '{"private": true}\n');
  const run = (command: string, args: readonly string[], timeout: number) =>
    spawnSync(command, args, { cwd: TFJS_DIRECTORY, encoding: "utf8", timeout });
  const installed = run("npm", ["install", "--no-audit", "--no-fund", wanted], INSTALL_DEADLINE_MS);
  const script = join(import.meta.dirname, "..", "contestants", "load-tfjs.ts");
  const problem =
    failure(`npm install ${wanted}`, installed) ??
    failure(`require ${TFJS_PACKAGE}`, run(process.execPath, [script], IMPORT_DEADLINE_MS));
  const status: PeerStatus = problem
    ? { peer: TFJS_PEER, installed: false, reason: problem }
    : { peer: TFJS_PEER, installed: true, versions: { [TFJS_PACKAGE]: TFJS_VERSION } };
  console.log(`${TFJS_PEER}: ${status.installed ? "installed" : `missing, ${status.reason}`}`);
  return status;
}

/** What went wrong in a finished command, in one line, or undefined. */
function failure(what: string, result: SpawnSyncReturns<string>): string | undefined {
  if (result.status === 0) return undefined;
  const lines = result.stderr.trim().split("\n");
  // Python says last what went wrong, Node after "Error:" somewhere above.
  const detail =
    result.error?.message ?? lines.find((line) => /^\w*Error: /.test(line)) ?? lines.at(-1) ?? "";
  return `${what} failed (${result.signal ?? `exit ${result.status}`}): ${detail}`.slice(0, 500);
}
