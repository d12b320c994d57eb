/** A node in a process of its own that serves one slow model, `m`; and asking it over HTTP, each request exactly once. */

import { mkdtemp, rm } from "node:fs/promises";
import { type Agent, type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startNode, stopNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import type { InferMessage } from "../fixtures/grpc-client.ts";
import { heavyModel } from "../fixtures/onnx-models.ts";
import { endForGood, type Program, runProgram } from "../fixtures/program.ts";

/**
 * `refused`: nobody listens. `unaccepted`: listening ended before a new connection was accepted; the kernel resets such
 * ones. Without a connection `headers` and `text` are empty.
 */
export type Asked = { status: number | "refused" | "unaccepted"; headers: IncomingHttpHeaders; text: string };

export type ServedProcess = {
  url: string;
  /** Where it speaks gRPC. */
  address: string;
  program: Program;
  close(): Promise<void>;
};

const WIDTH = 256;
/** Enough arithmetic for requests to queue. */
const DEPTH = 16;

/** @param variables besides the necessary ones */
export async function startServedProcess(variables: Record<string, string>): Promise<ServedProcess> {
  const directory = await mkdtemp(join(tmpdir(), "moiety-served-"));
  const settings = {
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_MAX_BATCH: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: "120000",
    MOIETY_LOG_LEVEL: "fatal",
    ...variables,
  };
  await publish(directory, settings);
  const program = runProgram(["cli/node.ts", "registry", "inference", "gateway"], settings);
  const close = async (): Promise<void> => {
    await endForGood(program);
    await rm(directory, { recursive: true, force: true });
  };
  try {
    const [, url, address] = await program.untilPrinted(/^ready \S+ (\S+) (\S+)$/m);
    return { url: url!, address: address!, program, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The body of a prediction. */
export function question(parameters: object = {}): string {
  return JSON.stringify({
    parameters: { cache: false, ...parameters },
    inputs: [{ name: "x", datatype: "FP32", shape: [1, WIDTH], data: new Array(WIDTH).fill(0) }],
  });
}

/** The same over gRPC. */
export function grpcQuestion(parameters: InferMessage["parameters"] = {}): InferMessage {
  return {
    model_name: "m",
    parameters: { cache: { bool_param: false }, ...parameters },
    inputs: [{ name: "x", datatype: "FP32", shape: [1, WIDTH] }],
    raw_input_contents: [new Uint8Array(WIDTH * Float32Array.BYTES_PER_ELEMENT)],
  };
}

/** Asks once; with a body, by POST. @throws {Error} when the connection breaks */
export async function ask(agent: Agent, url: string, body?: string): Promise<Asked> {
  const asked = request(url, { agent, method: body === undefined ? "GET" : "POST" });
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      asked.once("response", resolve).once("error", reject).end(body);
    });
    let text = "";
    for await (const chunk of response.setEncoding("utf8")) text += chunk;
    return { status: response.statusCode!, headers: response.headers, text };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ECONNREFUSED") return { status: "refused", headers: {}, text: "" };
    if (code === "ECONNRESET" && !asked.reusedSocket && asked.socket?.bytesRead === 0)
      return { status: "unaccepted", headers: {}, text: "" };
    throw new Error(`A connection broke under a request (reused: ${asked.reusedSocket})`, { cause: error });
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
