/**
 * Starts real nats-server and redis-server programs for `npm run cluster` and for tests: on free ports of the
 * loopback interface, with nothing left behind. The program is found on the PATH, else installed from Debian when we
 * are root, else its absence is reported.
 *
 * A server dies with the process (or worker thread) that started it: by an exit handler and, where setpriv(1) is
 * installed, by the kernel, which covers SIGKILL.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { randomInt, randomUUID } from "node:crypto";
import { accessSync, constants, rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { createServer, connect as openSocket } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { DeadlineExceededError, ExecutionError, PortInUseError, ServerMissingError } from "../lib/errors.ts";
import { guarded, makeDirectory } from "../lib/store/file-system.ts";
import { installFromDebian } from "./debian.ts";

export type RunningServer = {
  /** `nats://127.0.0.1:PORT` or `redis://127.0.0.1:PORT` */
  url: string;
  port: number;
  pid: number;
  kill(signal: NodeJS.Signals): void;
  /** Stops it in order, by force after 5 s, and removes its temporary folder. Resolves when it has ended. */
  stop(): Promise<void>;
};

export type ServerOptions = {
  /** Where it keeps its data, kept after stop(). @default a temporary folder, removed at stop() */
  directory?: string;
  /** @default a free port */
  port?: number;
};

type Program = {
  name: string;
  packageName: string;
  scheme: string;
  arguments: (port: number, directory: string, id: string) => string[];
  /** What to send, and what this very server answers once it is ready: another may have been quicker to the port. */
  greeting: string;
  ready: (id: string, pid: number) => RegExp;
};

const HOST = "127.0.0.1";
const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 5_000;
const PORT_ATTEMPTS = 5;
const FIRST_PORT = 10_000;
/** Linux's own; elsewhere they begin higher. */
const FIRST_EPHEMERAL_PORT = 32_768;
const PORT_TAKEN = /address already in use/i;

const NATS: Program = {
  name: "nats-server",
  packageName: "nats-server",
  scheme: "nats",
  arguments: (port, directory, id) => ["-a", HOST, "-p", String(port), "-n", id, "-js", "-sd", directory],
  greeting: "",
  ready: (id) => new RegExp(`^INFO .*"server_name":"${id}".*"jetstream":true`),
};

const REDIS: Program = {
  name: "redis-server",
  packageName: "redis-server",
  scheme: "redis",
  arguments: (port, directory) =>
    ["--bind", HOST, "--port", String(port), "--dir", directory, "--daemonize", "no"].concat(
      ["--save", ""],
      ["--appendonly", "no"],
    ),
  greeting: "INFO server\r\n",
  ready: (_, pid) => new RegExp(`process_id:${pid}\\r\\n`),
};

/** A nats-server with JetStream. @throws {ServerMissingError} {PortInUseError} {StoreUnavailableError} {ExecutionError} */
export function startNats(options: ServerOptions = {}): Promise<RunningServer> {
  return start(NATS, options);
}

/** A redis-server that keeps nothing on disk. @throws {ServerMissingError} {PortInUseError} {ExecutionError} */
export function startRedis(options: ServerOptions = {}): Promise<RunningServer> {
  return start(REDIS, options);
}

async function start(program: Program, options: ServerOptions): Promise<RunningServer> {
  const path = await locate(program);
  const own = options.directory === undefined;
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), `moiety-${program.scheme}-`)));
  if (!own) await guarded(directory, () => makeDirectory(directory));
  const clean = () => {
    if (own) rmSync(directory, { recursive: true, force: true });
  };
  try {
    for (let attempt = 1; ; attempt++)
      try {
        return await launch(program, path, options.port ?? (await freePort()), directory, clean);
      } catch (error) {
        // Between finding a port and using it, another process may have taken it.
        if (!(error instanceof PortInUseError) || options.port !== undefined || attempt === PORT_ATTEMPTS)
          throw error;
      }
  } catch (error) {
    clean();
    throw error;
  }
}

async function launch(
  program: Program,
  path: string,
  port: number,
  directory: string,
  clean: () => void,
): Promise<RunningServer> {
  if (await isTaken(port)) throw new PortInUseError(HOST, port, "the port option");
  const id = `moiety-${randomUUID()}`;
  const command = [path, ...program.arguments(port, directory, id)];
  const setpriv = find("setpriv");
  if (setpriv) command.unshift(setpriv, "--pdeathsig", "KILL", "--");
  // In a process group of its own: Ctrl-C on the terminal must not stop a server before those who use it.
  const child = spawn(command[0]!, command.slice(1), { stdio: ["ignore", "pipe", "pipe"], detached: true });

  const exited = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  const killAtExit = () => {
    child.kill("SIGKILL");
    clean();
  };
  process.once("exit", killAtExit);
  void exited.then(() => process.off("exit", killAtExit));

  const stop = async () => {
    child.kill("SIGTERM");
    const patience = new AbortController();
    await Promise.race([
      exited,
      wait(STOP_TIMEOUT_MS, undefined, { signal: patience.signal }).catch(() => {}),
    ]);
    patience.abort();
    child.kill("SIGKILL");
    await exited;
    clean();
  };
  try {
    await untilReady(program, child, port, id);
  } catch (error) {
    child.kill("SIGKILL");
    await exited;
    throw error;
  }
  return {
    url: `${program.scheme}://${HOST}:${port}`,
    port,
    pid: child.pid!,
    kill: (signal) => void child.kill(signal),
    stop,
  };
}

async function untilReady(program: Program, child: ChildProcess, port: number, id: string): Promise<void> {
  let output = "";
  let failure: string | undefined;
  for (const stream of [child.stdout!, child.stderr!])
    stream.on("data", (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-2000);
    });
  child.once("error", (error) => {
    failure = error.message;
  });
  child.once("close", (code, signal) => {
    failure ??= `it ended with ${signal ?? `status ${code}`}: ${output.trim()}`;
  });
  const ready = program.ready(id, child.pid ?? -1);
  for (const deadline = Date.now() + START_TIMEOUT_MS; Date.now() < deadline; await wait(25)) {
    if (failure !== undefined && PORT_TAKEN.test(failure))
      throw new PortInUseError(HOST, port, "the port option");
    if (failure !== undefined) throw new ExecutionError(`Starting ${program.name}`, failure);
    if (await answers(port, program.greeting, ready)) return;
  }
  throw new DeadlineExceededError(`Starting ${program.name} (${output.trim()})`, START_TIMEOUT_MS);
}

/** Whether a server on the port answers a greeting as expected. */
function answers(port: number, greeting: string, expected: RegExp): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = openSocket({ host: HOST, port });
    let received = "";
    const settle = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(500, () => settle(false));
    socket.once("error", () => settle(false));
    socket.once("close", () => settle(false));
    socket.once("connect", () => socket.write(greeting));
    socket.on("data", (chunk) => {
      received = (received + chunk.toString()).slice(-65_536);
      if (expected.test(received)) settle(true);
    });
  });
}

function isTaken(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => resolve(PORT_TAKEN.test(error.message)));
    server.listen(port, HOST, () => server.close(() => resolve(false)));
  });
}

/**
 * A port that nobody listens on, below those that the system gives to connections: whoever tries to reach a server
 * that is being restarted, or anything else, must not be given its port in the meantime.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST_PORT, FIRST_EPHEMERAL_PORT);
    if (!(await isTaken(port))) return port;
  }
}

async function locate(program: Program): Promise<string> {
  const found = find(program.name);
  if (found) return found;
  if (!find("apt-get")) throw new ServerMissingError(program.name, "it is not on the PATH");
  await installFromDebian(program.name, program.packageName);
  const installed = find(program.name);
  if (!installed)
    throw new ServerMissingError(program.name, `Debian's ${program.packageName} does not have it`);
  return installed;
}

function find(program: string): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"];
  return folders
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, program))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
