/** Dead nodes, hanging nodes and a restarted NATS, with real processes over a real NATS server. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { ServiceBroker } from "moleculer";
import { type RunningServer, startNats } from "../../cli/servers.ts";
import { readConfig } from "../../lib/config.ts";
import { brokerOptions } from "../../moleculer.config.ts";

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
  await once(child.stdout!, "data");
  await until(() => isAvailable(nodeID), 10_000, `${nodeID} to be discovered`);
  // Probed and answered at least once.
  await delay(700);
}

function isAvailable(nodeID: string): boolean {
  return caller.registry.nodes.get(nodeID)?.available === true;
}

async function until(condition: () => boolean, timeoutMs: number, what: string): Promise<number> {
  const started = performance.now();
  while (!condition()) {
    if (performance.now() - started > timeoutMs) throw new Error(`Waited ${timeoutMs} ms for ${what}`);
    await delay(10);
  }
  return performance.now() - started;
}

type Outcome = { startedAt: number; tookMs: number; error?: string };

/** Calls `provider.work` every 2 ms until stopped; resolves to every outcome. */
function steadyCalls(): { stop: () => Promise<Outcome[]> } {
  const calls: Promise<Outcome>[] = [];
  const timer = setInterval(() => {
    const startedAt = performance.now();
    const outcome = (error?: unknown): Outcome => ({
      startedAt,
      tookMs: performance.now() - startedAt,
      ...(error ? { error: String(error) } : {}),
    });
    calls.push(caller.call("provider.work", {}).then(() => outcome(), outcome));
  }, 2);
  return {
    stop: () => {
      clearInterval(timer);
      return Promise.all(calls);
    },
  };
}

beforeAll(async () => {
  nats = await startNats();
  caller = new ServiceBroker(brokerOptions(readConfig(environment("caller"))));
  await caller.start();
});

afterAll(async () => {
  for (const child of providers.values()) child.kill("SIGKILL");
  await caller?.stop();
  await nats?.stop();
});

describe("liveness", () => {
  test("a node killed under steady load fails no call, and no call waits much longer than a second", async () => {
    await Promise.all([startProvider("alpha"), startProvider("beta")]);
    const load = steadyCalls();
    await delay(500);
    const killedAt = performance.now();
    providers.get("alpha")!.kill("SIGKILL");
    const detectedMs = await until(() => !isAvailable("alpha"), 5_000, "alpha to be dropped");
    await delay(500);
    const outcomes = await load.stop();

    const worstMs = Math.max(...outcomes.map(({ tookMs }) => tookMs));
    const late = outcomes.filter(({ startedAt }) => startedAt > killedAt + detectedMs);
    console.log(
      `killed node dropped after ${detectedMs.toFixed(0)} ms; worst answer ${worstMs.toFixed(0)} ms`,
    );
    expect(outcomes.filter(({ error }) => error)).toEqual([]);
    expect(detectedMs).toBeLessThan(1_500);
    expect(worstMs).toBeLessThan(2_500);
    expect(late.length).toBeGreaterThan(50);
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
    await delay(200);
    const exited = once(providers.get("alpha")!, "exit");
    providers.get("alpha")!.kill("SIGTERM");
    await exited;
    await delay(300);
    const outcomes = await load.stop();
    expect(outcomes.filter(({ error }) => error)).toEqual([]);
  });

  test("after a restart of NATS the nodes call each other again within seconds", async () => {
    const { port } = nats;
    await nats.stop();
    await delay(1_000);
    nats = await startNats({ port });
    const started = performance.now();
    let answered = false;
    while (!answered && performance.now() - started < 10_000)
      answered = await caller.call("provider.work", {}, { timeout: 500 }).then(
        () => true,
        () => delay(100, false),
      );
    console.log(`called again ${(performance.now() - started).toFixed(0)} ms after NATS was back`);
    expect(answered).toBe(true);
    await delay(2_000);
    await caller.call("provider.work", {});
  });

  test("a node killed after the restart is still found dead", async () => {
    providers.get("beta")!.kill("SIGKILL");
    const detectedMs = await until(() => !isAvailable("beta"), 5_000, "beta to be dropped");
    expect(detectedMs).toBeLessThan(1_500);
  });
});
