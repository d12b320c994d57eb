/**
 * Whether a node that is told to stop under load leaves anybody without an answer. The node is a process of its own;
 * clients keep their connections and ask without a pause, as ones behind a load balancer do: until readiness says 503,
 * or an answer says that its connection closes and a new one is refused. Everything they have asked must be answered
 * by then, and no connection may be reset under a request.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { Agent, type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startNode, stopNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually, settled, until } from "../fixtures/eventually.ts";
import { heavyModel } from "../fixtures/onnx-models.ts";
import { endForGood, runProgram } from "../fixtures/program.ts";

export type ShutdownOptions = {
  clients: number;
  /** Whether clients go on, over new connections, when readiness has said 503. */
  stubborn: boolean;
};

export type ShutdownReport = {
  /** Answers to what was asked before the signal, and after it. */
  before: number;
  after: number;
  /** Statuses of readiness in the order they changed; `refused`: no connection. */
  readiness: (number | "refused")[];
  exit: number | string;
  stderr: string;
};

const WIDTH = 256;
/** Enough arithmetic for requests to be in the queue when the signal comes. */
const DEPTH = 16;

/** @throws {Error} at the first request that was not answered, with what its client saw */
export async function shutdown({ clients, stubborn }: ShutdownOptions): Promise<ShutdownReport> {
  const directory = await mkdtemp(join(tmpdir(), "moiety-shutdown-"));
  const settings = {
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "off",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_MAX_BATCH: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: "120000",
    MOIETY_LOG_LEVEL: "fatal",
  };
  await publish(directory, settings);
  const program = runProgram(["cli/node.ts", "registry", "inference", "gateway"], settings);
  const agent = new Agent({ keepAlive: true });
  try {
    const [, url] = await program.untilPrinted(/^ready \S+ (\S+)$/m);
    await eventually(async () => (await ask(agent, `${url}/v2/health/ready`)).status === 200 || undefined);

    const [answered, readiness] = [{ before: 0, after: 0 }, [200] as (number | "refused")[]];
    let [told, leaving] = [false, false];
    let failure: Error | undefined;
    const body = JSON.stringify({
      parameters: { cache: false },
      inputs: [{ name: "x", datatype: "FP32", shape: [1, WIDTH], data: new Array(WIDTH).fill(0) }],
    });
    const client = async (): Promise<void> => {
      while (!leaving && failure === undefined) {
        const when = told ? "after" : "before";
        const { status, text } = await ask(agent, `${url}/v2/models/m/infer`, body);
        if (status === "refused" && told) return;
        if (status !== 200) throw new Error(`A request asked ${when} the signal ended in ${status}: ${text}`);
        answered[when]++;
      }
    };
    const prober = async (): Promise<void> => {
      while (readiness.at(-1) !== "refused" && failure === undefined) {
        const { status } = await ask(agent, `${url}/v2/health/ready`);
        if (status !== readiness.at(-1)) readiness.push(status);
        if (status !== 200) leaving ||= !stubborn;
      }
    };
    const all = [prober(), ...Array.from({ length: clients }, client)].map((ends) =>
      ends.catch((error: Error) => {
        failure ??= error;
      }),
    );
    await until(() => answered.before >= clients || failure !== undefined);
    told = true;
    program.child.kill("SIGTERM");
    await settled(Promise.all(all));
    if (failure) throw failure;
    return { ...answered, readiness, exit: await program.ended(), stderr: program.stderr() };
  } finally {
    agent.destroy();
    await endForGood(program);
    await rm(directory, { recursive: true, force: true });
  }
}

async function publish(directory: string, settings: Record<string, string>): Promise<void> {
  const broker = await startNode(readConfig(settings), ["registry"]);
  const store = await openStore({ kind: "files", directory });
  const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, WIDTH] }];
  const signature = { inputs: spec, outputs: [{ ...spec[0]!, name: `x${DEPTH}` }] };
  const onnx = await store.artifacts.put(heavyModel(WIDTH, DEPTH));
  await callOf(broker)("registry.publish", { model: "m", artifacts: { onnx }, signature, labels: [] });
  await store.close();
  await stopNode(broker);
}

/** The answer's status; `refused` when no connection was to be had; else the error's code. Nothing is asked twice. */
async function ask(
  agent: Agent,
  url: string,
  body?: string,
): Promise<{ status: number | "refused"; text: string }> {
  const asked = request(url, { agent, method: body === undefined ? "GET" : "POST" });
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      asked.once("response", resolve).once("error", reject).end(body);
    });
    let text = "";
    for await (const chunk of response.setEncoding("utf8")) text += chunk;
    return { status: response.statusCode!, text };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ECONNREFUSED") return { status: "refused", text: "" };
    throw new Error(`A connection broke under a request (reused: ${asked.reusedSocket})`, { cause: error });
  }
}
