/**
 * `npm run cluster` with all its processes, under load while parts of it die: what was accepted is answered, what
 * cannot be is refused in clear words, nothing hangs, nothing is left behind.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { startChildNode } from "../../cli/child-node.ts";
import { type Cluster, startCluster } from "../../cli/cluster.ts";
import { freePort } from "../../cli/servers.ts";
import cnn from "../../examples/mnist/cnn.json" with { type: "json" };
import type { Job } from "../../lib/protocol/jobs.ts";
import { eventually, until } from "../fixtures/eventually.ts";
import { cleanEnvironment, endForGood, runProgram } from "../fixtures/program.ts";
import { classification } from "../support/classification.ts";

const CONNECTIONS = 8;
/** Of a prediction: no answer may need it. */
const DEADLINE_MS = 100_000;
const JOB_TIMEOUT_MS = 600_000;
/** So many answers without a refusal between them are no luck: half of all requests go to each inference node. */
const IN_A_ROW = 200;
const REFUSALS = ["UNAVAILABLE", "DRAINING", "QUEUE_FULL", "MODEL_NOT_READY", "WORKER_CRASHED"];

const SETTINGS = {
  MOIETY_HTTP_PORT: "0",
  MOIETY_GRPC_PORT: "0",
  MOIETY_INFERENCE_WORKERS: "1",
  MOIETY_INFERENCE_TIMEOUT_MS: String(DEADLINE_MS),
  MOIETY_LOG_LEVEL: "fatal",
};

/** `after`: whether it was asked for after what happened in the meantime. */
type Answer = { after: boolean; tookMs: number; status: number; type: string | undefined };

let directory: string;
let cluster: Cluster;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-cluster-"));
  cluster = await startCluster(cleanEnvironment(SETTINGS), directory);
});
afterAll(async () => {
  await cluster?.stop();
  await rm(directory, { recursive: true, force: true });
});

const node = (nodeID: string) => cluster.nodes.find((candidate) => candidate.nodeID === nodeID)!;

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const gone = (pids: readonly number[]) => until(() => !pids.some(isAlive));

function post(path: string, body: unknown, agent?: Agent): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `${cluster.url}${path}`,
      { method: "POST", agent, headers: { "content-type": "application/json" }, timeout: 2 * DEADLINE_MS },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () => resolve({ status: response.statusCode!, text }));
        response.on("error", reject);
      },
    );
    sent.on("timeout", () => sent.destroy(new Error("no answer")));
    sent.on("error", reject);
    sent.end(JSON.stringify(body));
  });
}

const get = async <T>(path: string) => (await (await fetch(`${cluster.url}${path}`)).json()) as T;

/** One white image more or less bright, so that no two answers need be the same. */
function digit(brightness: number, cache: boolean) {
  return {
    inputs: [
      {
        name: "image",
        datatype: "FP32",
        shape: [1, 28, 28, 1],
        data: Array.from({ length: 784 }, (_, i) => (i + brightness) % 256),
      },
    ],
    parameters: { cache },
  };
}

/**
 * Steady load from several connections: until it goes well, then `event` happens, then until it goes well again and
 * `over` says so. Every request is recorded, also failed ones.
 */
async function underLoad(
  cache: boolean,
  event: (soFar: readonly Answer[]) => Promise<void>,
  over: () => Promise<boolean> = async () => true,
): Promise<Answer[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const answers: Answer[] = [];
  let [after, stop, inARow] = [false, false, 0];
  const clients = Array.from({ length: CONNECTIONS }, async (_, client) => {
    for (let i = 0; !stop; i++) {
      const [asked, startedMs] = [after, performance.now()];
      const { status, text } = await post(
        "/v2/models/digits/infer",
        digit(client * 7919 + i, cache),
        agent,
      ).catch((error: Error) => ({ status: 0, text: JSON.stringify({ type: error.message }) }));
      const type = status === 200 ? undefined : (JSON.parse(text) as { type?: string }).type;
      answers.push({ after: asked, tookMs: performance.now() - startedMs, status, type });
      if (asked === after) inARow = status === 200 ? inARow + 1 : 0;
    }
  });
  try {
    await until(() => inARow >= IN_A_ROW);
    await event(answers);
    [after, inARow] = [true, 0];
    await until(() => inARow >= IN_A_ROW);
    await eventually(async () => (await over()) || undefined);
  } finally {
    stop = true;
    await Promise.all(clients);
    agent.destroy();
  }
  return answers;
}

async function redisProcess(): Promise<number> {
  const redis = new Redis(cluster.redisUrl);
  redis.on("error", () => {});
  const pid = /process_id:(\d+)/.exec(await redis.info("server"))![1];
  redis.disconnect();
  return Number(pid);
}

/** Sum of a counter over its labels, on the Prometheus page of a node. */
function counted(page: string, name: string): number {
  return page
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

describe("a cluster", () => {
  test("trains a model through all its processes and serves it on both inference nodes", async () => {
    expect(cluster.nodes.map(({ nodeID }) => nodeID)).toEqual([
      "registry-1",
      "converter-1",
      "evaluator-1",
      "inference-1",
      "inference-2",
      "trainer-1",
      "gateway-1",
    ]);
    const { status, text } = await eventually(async () => {
      const data = { dataset: "mnist", trainLimit: 2000, testLimit: 500 };
      const answer = await post("/api/jobs", { model: "digits", architecture: cnn, data });
      return answer.status === 503 ? undefined : answer;
    });
    expect(status).toBe(202);
    const { id } = JSON.parse(text) as Job;
    const job = await eventually(async () => {
      const current = await get<Job>(`/api/jobs/${id}`);
      return current.state === "queued" || current.state === "running" ? undefined : current;
    }, JOB_TIMEOUT_MS);
    expect(job).toMatchObject({ state: "succeeded", result: { version: 1, promoted: true } });
    expect(job.owner).toContain("trainer-1");
    expect(classification(job.result!.evaluation).accuracy).toBeGreaterThan(0.75);
    await eventually(async () => {
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, i) => post("/v2/models/digits/infer", digit(i, false))),
      );
      return answers.every((answer) => answer.status === 200) || undefined;
    });
  });

  test("loses an inference process to SIGKILL under load: later requests succeed, none hangs", async () => {
    const answers = await underLoad(false, async (soFar) => {
      expect(soFar.filter(({ status }) => status !== 200)).toEqual([]);
      node("inference-2").kill("SIGKILL");
      expect(await node("inference-2").ended).toBe("SIGKILL");
    });
    const refused = answers.filter(({ status }) => status !== 200);
    const worstMs = Math.max(...answers.map(({ tookMs }) => tookMs));
    console.log(
      `${answers.length} requests, ${refused.length} refused, worst latency ${worstMs.toFixed(0)} ms; ` +
        `${answers.filter(({ after }) => after).length} began after the kill`,
    );
    // None of them by a deadline: whatever the dead node had was refused when it was missed.
    for (const { status, type } of refused) {
      expect(status).toBe(503);
      expect(REFUSALS).toContain(type);
    }
  });

  test("goes on predicting when Redis is killed under load, and the inference node counts it", async () => {
    // A node that joins in place of the one that was killed, with a metrics page of its own.
    const port = await freePort();
    const joined = await startChildNode(["inference"], {
      ...SETTINGS,
      MOIETY_MODE: "cluster",
      MOIETY_NATS_URL: cluster.natsUrl,
      MOIETY_REDIS_URL: cluster.redisUrl,
      MOIETY_NODE_ID: "inference-3",
      MOIETY_METRICS_PORT: String(port),
    });
    const page = async () => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    try {
      await eventually(async () => counted(await page(), "moiety_model_loads") || undefined);
      const errors = async () => counted(await page(), "moiety_cache_errors");
      let before = 0;
      const answers = await underLoad(
        true,
        async () => {
          // A busy machine may have kept Redis from answering in time before.
          before = await errors();
          process.kill(await redisProcess(), "SIGKILL");
        },
        async () => (await errors()) > before,
      );
      expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
    } finally {
      await joined.stop();
    }
  });

  test("stops in order with nothing left running", async () => {
    const pids = cluster.nodes.map(({ pid }) => pid);
    await cluster.stop();
    await gone(pids);
    const outcomes = await Promise.all(cluster.nodes.map(async ({ nodeID, ended }) => [nodeID, await ended]));
    for (const [nodeID, how] of outcomes)
      expect([nodeID, how]).toEqual([nodeID, nodeID === "inference-2" ? "SIGKILL" : "status 0"]);
    await expect(fetch(cluster.url)).rejects.toThrow();
  });
});

describe("npm run cluster", () => {
  /** Starts it and gives it with the processes of its nodes. */
  async function launch() {
    const folder = await mkdtemp(join(directory, "launched-"));
    const program = runProgram(["cli/cluster.ts", "--empty"], { ...SETTINGS, MOIETY_DATA_DIR: folder });
    await program.untilPrinted(/Serving on http:\S+ .*without an example/);
    const pids = [...program.stdout().matchAll(/process (\d+)/g)].map(([, pid]) => Number(pid));
    const [, nats] = /NATS on nats:\/\/(\S+),/.exec(program.stdout())!;
    expect(pids).toHaveLength(7);
    expect(pids.every(isAlive)).toBe(true);
    return { program, pids, natsAddress: nats! };
  }

  const refuses = (address: string) =>
    eventually(async () => {
      const [host, port] = address.split(":") as [string, string];
      return new Promise<true | undefined>((resolve) => {
        const socket = connect(Number(port), host);
        socket.once("connect", () => resolve(socket.destroy() && undefined));
        socket.once("error", () => resolve(true));
      });
    });

  test("stops all that it started when it is interrupted", async () => {
    const { program, pids, natsAddress } = await launch();
    try {
      program.child.kill("SIGINT");
      expect(await program.ended()).toBe(0);
      for (const nodeID of ["gateway-1", "inference-1", "registry-1"])
        expect(program.stdout()).toContain(`${nodeID} ended (status 0)`);
      const order = ["gateway-1 ended", "trainer-1 ended", "registry-1 ended"].map((line) =>
        program.stdout().indexOf(line),
      );
      expect(order).toEqual(order.toSorted((a, b) => a - b));
      expect(program.stderr()).toBe("");
      expect(pids.filter(isAlive)).toEqual([]);
      await refuses(natsAddress);
    } finally {
      await endForGood(program);
    }
  });

  test("leaves no process behind when it is killed", async () => {
    const { program, pids, natsAddress } = await launch();
    await endForGood(program);
    await gone(pids);
    await refuses(natsAddress);
  });
});
