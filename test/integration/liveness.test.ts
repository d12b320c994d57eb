/** Dead nodes, hanging nodes and a restarted NATS, with real processes over a real NATS server. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { ServiceBroker } from "moleculer";
import type { NatsConnection } from "nats";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import type { NatsTransporter } from "../../mixins/nats-transporter.ts";
import { brokerOptions } from "../../moleculer.config.ts";
import { eventually, settled, until } from "../fixtures/eventually.ts";

const PROVIDER = new URL("../fixtures/provider-node.ts", import.meta.url).pathname;

let nats: RunningServer;
let caller: ServiceBroker;
const providers = new Map<string, ChildProcess>();

function environment(nodeID: string): Record<string, string> {
  return {
    MOIETY_MODE: "cluster",
    MOIETY_NATS_URL: nats.url,
    MOIETY_NAMESPACE: "liveness",
    MOIETY_NODE_ID: nodeID,
    MOIETY_LOG_LEVEL: "fatal",
  };
}

async function startProvider(nodeID: string): Promise<void> {
  const child = spawn(process.execPath, [PROVIDER], {
    env: environment(nodeID),
    stdio: ["ignore", "pipe", "inherit"],
  });
  providers.set(nodeID, child);
  await settled(once(child.stdout!, "data"));
  await eventually(() => caller.call("provider.work", {}, { nodeID }));
  const probesBefore = probesAnswered(nodeID);
  await until(() => probesAnswered(nodeID) > probesBefore);
}

function isAvailable(nodeID: string): boolean {
  return caller.registry.nodes.get(nodeID)?.available === true;
}

/** How many of the caller's probes each node's subject has answered. */
const answered = new Map<string, number>();
const probesAnswered = (nodeID: string) => answered.get(`liveness.alive.${nodeID}`) ?? 0;

/** Counts what the caller's probes bring; Moleculer's own calls are no requests of the client's. */
function watchProbes(): void {
  const client = (caller.transit!.tx as NatsTransporter).client as NatsConnection;
  const request = client.request.bind(client);
  client.request = async (subject, ...rest) => {
    const answer = await request(subject, ...rest);
    answered.set(subject, (answered.get(subject) ?? 0) + 1);
    return answer;
  };
}

/** Waits until the caller has dropped a node whose process has ended; in milliseconds, for whoever reads it. */
async function dropped(nodeID: string): Promise<number> {
  const child = providers.get(nodeID)!;
  if (child.exitCode === null && child.signalCode === null) await settled(once(child, "exit"));
  const from = performance.now();
  await until(() => !isAvailable(nodeID));
  return performance.now() - from;
}

type Outcome = { tookMs: number; error?: string };

/** Calls `provider.work` every 2 ms until stopped; resolves to every outcome. */
function steadyCalls(): { answered: () => number; stop: () => Promise<Outcome[]> } {
  const calls: Promise<Outcome>[] = [];
  let settledCalls = 0;
  const timer = setInterval(() => {
    const startedAt = performance.now();
    const outcome = (error?: unknown): Outcome => {
      settledCalls++;
      return { tookMs: performance.now() - startedAt, ...(error ? { error: String(error) } : {}) };
    };
    calls.push(caller.call("provider.work", {}).then(() => outcome(), outcome));
  }, 2);
  return {
    answered: () => settledCalls,
    stop: () => {
      clearInterval(timer);
      return Promise.all(calls);
    },
  };
}

beforeAll(async () => {
  nats = await startNats();
  // Heartbeats find nobody here within the hour: whoever is dropped was missed by its probes. Calls that nobody
  // ends are not ended by their deadline either.
  const patient = { heartbeatTimeout: 3_600, requestTimeout: 3_600_000 };
  caller = new ServiceBroker({ ...brokerOptions(readConfig(environment("caller"))), ...patient });
  await caller.start();
  watchProbes();
});

afterAll(async () => {
  for (const child of providers.values()) child.kill("SIGKILL");
  await caller?.stop();
  await nats?.stop();
});

describe("liveness", () => {
  test("a node killed under steady load fails no call, and calls in flight to it end when it is missed", async () => {
    await Promise.all([startProvider("alpha"), startProvider("beta")]);
    const load = steadyCalls();
    await until(() => load.answered() > 50);
    providers.get("alpha")!.kill("SIGKILL");
    const detectedMs = await dropped("alpha");
    const before = load.answered();
    await until(() => load.answered() > before + 50);
    // Also those that waited for the dead node; none has a deadline to end it.
    const outcomes = await settled(load.stop());

    const worstMs = Math.max(...outcomes.map(({ tookMs }) => tookMs));
    console.log(
      `killed node dropped after ${detectedMs.toFixed(0)} ms; worst answer ${worstMs.toFixed(0)} ms`,
    );
    expect(outcomes.filter(({ error }) => error)).toEqual([]);
  });

  test("a node that comes back under its old name is discovered and called again", async () => {
    await startProvider("alpha");
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => caller.call<string, object>("provider.work", {})),
    );
    expect(new Set(answers)).toEqual(new Set(["alpha", "beta"]));
  });

  test("a node whose event loop is busy for seconds is not taken for dead", async () => {
    await caller.call("provider.hang", { ms: 3_000 }, { nodeID: "beta" });
    expect(isAvailable("beta")).toBe(true);
    expect(isAvailable("alpha")).toBe(true);
  });

  test("nodes that stop in order are not missed by anyone", async () => {
    const load = steadyCalls();
    await until(() => load.answered() > 20);
    const exited = once(providers.get("alpha")!, "exit");
    providers.get("alpha")!.kill("SIGTERM");
    await exited;
    const before = load.answered();
    await until(() => load.answered() > before + 50);
    const outcomes = await settled(load.stop());
    expect(outcomes.filter(({ error }) => error)).toEqual([]);
  });

  test("after a restart of NATS the nodes call each other again", async () => {
    const { port } = nats;
    await nats.stop();
    await delay(1_000);
    nats = await startNats({ port });
    const started = performance.now();
    await eventually(() => caller.call("provider.work", {}, { timeout: 1_000 }));
    console.log(`called again ${(performance.now() - started).toFixed(0)} ms after NATS was back`);
    // Nobody is dropped for having been away with the server.
    const probesBefore = probesAnswered("beta");
    await until(() => probesAnswered("beta") > probesBefore + 5);
    await caller.call("provider.work", {});
  });

  test("a node killed after the restart is still found dead", async () => {
    providers.get("beta")!.kill("SIGKILL");
    await dropped("beta");
  });
});
