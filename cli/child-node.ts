/** A Moiety node in a process of its own, started by `npm run cluster` and by tests. */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { DeadlineExceededError, ExecutionError } from "../lib/errors.ts";
import type { ServiceName } from "./node.ts";

export type ChildNode = {
  nodeID: string;
  pid: number;
  /** Where its gateway listens, when it has one. */
  url: string | undefined;
  /** Where its gateway speaks gRPC, if it does: host and port. */
  grpcAddress: string | undefined;
  /** Resolves with how it ended. */
  ended: Promise<string>;
  kill(signal: NodeJS.Signals): void;
  /** Asks it to stop, answers its work in flight, and by force after the deadline. */
  stop(): Promise<void>;
};

const ENTRY = fileURLToPath(new URL("./node.ts", import.meta.url));
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;

/** Starts a node and waits until it is ready. @throws {ExecutionError} {DeadlineExceededError} */
export async function startChildNode(
  services: readonly ServiceName[],
  environment: Readonly<Record<string, string | undefined>>,
): Promise<ChildNode> {
  const child = spawn(process.execPath, [ENTRY, ...services], {
    env: { ...process.env, ...environment },
    // In a process group of its own: Ctrl-C on the terminal reaches the launcher alone, which stops nodes in order.
    detached: true,
    // The node stops when this channel closes, so none outlives its launcher.
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  const ended = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(signal ?? `status ${code}`));
    child.once("error", (error) => resolve(error.message));
  });
  const { nodeID, url, grpcAddress } = await untilReady(child, ended, services);
  return {
    nodeID,
    url,
    grpcAddress,
    pid: child.pid!,
    ended,
    kill: (signal) => void child.kill(signal),
    async stop() {
      child.kill("SIGTERM");
      const patience = new AbortController();
      const late = wait(STOP_TIMEOUT_MS, undefined, { signal: patience.signal }).catch(() => {});
      await Promise.race([ended, late]);
      patience.abort();
      child.kill("SIGKILL");
      await ended;
    },
  };
}

async function untilReady(child: ChildProcess, ended: Promise<string>, services: readonly string[]) {
  const what = `Node with ${services.join(", ")}`;
  const lines = createInterface({ input: child.stdout! });
  const ready = new Promise<Pick<ChildNode, "nodeID" | "url" | "grpcAddress">>((resolve) => {
    lines.on("line", (line) => {
      const [word, nodeID, url, grpcAddress] = line.split(" ");
      if (word === "ready" && nodeID) resolve({ nodeID, url, grpcAddress });
    });
  });
  const patience = new AbortController();
  const failed = ended.then((how) => {
    throw new ExecutionError(what, `it ended with ${how} while starting`);
  });
  const late = wait(START_TIMEOUT_MS, undefined, { signal: patience.signal }).then(() => {
    throw new DeadlineExceededError(`Starting ${what}`, START_TIMEOUT_MS);
  });
  late.catch(() => {});
  failed.catch(() => {});
  try {
    return await Promise.race([ready, failed, late]);
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  } finally {
    patience.abort();
  }
}
