/**
 * How gRPC calls behave in time: order on streams, bounds, deadlines, cancellation, statuses of what the node behind
 * answers, stopping. Behind the gateway is an inference service that answers when it is told to.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:http2";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ClientDuplexStream, status } from "@grpc/grpc-js";
import { type Context, ServiceBroker } from "moleculer";
import { grpcAddress, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { CancelledError, DeadlineExceededError, ExecutionError, QueueFullError } from "../../lib/errors.ts";
import type { PredictRequest, PredictResponse } from "../../lib/protocol/inference.ts";
import { brokerOptions } from "../../moleculer.config.ts";
import gatewayService from "../../services/gateway.service.ts";
import { settled, until } from "../fixtures/eventually.ts";
import { BytesClient, type InferMessage, OipClient, type StreamAnswer } from "../fixtures/grpc-client.ts";

/** What came to the inference service and is not answered yet. */
type Held = {
  request: PredictRequest;
  timeoutMs: number | undefined;
  signal: AbortSignal | undefined;
  answer: (cause?: Error) => void;
};

const IN_WORK = 128;

const directory = mkdtempSync(join(tmpdir(), "moiety-grpc-calls-"));
let broker: ServiceBroker;
let address: string;
let client: OipClient;
let held: Held[] = [];

const scripted = {
  name: "inference",
  actions: {
    predict(ctx: Context<PredictRequest>): Promise<PredictResponse> {
      const { timeout, signal } = ctx.options as { timeout?: number; signal?: AbortSignal };
      return new Promise((resolve, reject) => {
        signal?.addEventListener("abort", () => reject(new CancelledError("The request")));
        const { model, inputs } = ctx.params;
        const outputs = inputs.map((input) => ({ ...input, name: "y" }));
        held.push({
          request: ctx.params,
          timeoutMs: timeout,
          signal,
          answer: (cause) =>
            cause ? reject(cause) : resolve({ model, version: "3", outputs, cached: false }),
        });
      });
    },
    ready: () => ({ ready: false, reason: "not yet" }),
  },
};

const configWith = (variables: Record<string, string> = {}) =>
  readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_LOG_LEVEL: "fatal",
    MOIETY_INFERENCE_TIMEOUT_MS: "600000",
    ...variables,
  });

const start = (variables?: Record<string, string>) =>
  startNode(configWith(variables), ["gateway"], [scripted]);

beforeAll(async () => {
  broker = await start();
  address = grpcAddress(broker)!;
  client = new OipClient(address);
});

beforeEach(() => {
  held = [];
});

afterAll(async () => {
  client?.close();
  await broker?.stop();
  rmSync(directory, { recursive: true, force: true });
});

const asking = (id: string, changes: InferMessage = {}): InferMessage => ({
  model_name: "m",
  id,
  inputs: [{ name: "x", datatype: "UINT8", shape: [1] }],
  raw_input_contents: [Buffer.from([Number(id) & 0xff])],
  ...changes,
});

const heldFor = (id: number) => held.find(({ request }) => request.inputs[0]!.data[0] === id)!;

/** What a stream says, as it comes, and how it ends. */
function listen(stream: ClientDuplexStream<InferMessage, StreamAnswer>) {
  const answers: StreamAnswer[] = [];
  stream.on("data", (answer: StreamAnswer) => answers.push(answer));
  const ended = new Promise<{ code: number; details: string }>((resolve) => {
    stream.on("status", resolve);
    stream.on("error", () => {});
  });
  return { answers, ended };
}

const failureOf = (promise: Promise<unknown>) =>
  settled(
    promise.then(
      () => undefined,
      (error: { code: number; details: string; metadata: { get(key: string): unknown[] } }) => error,
    ),
  );

describe("a stream", () => {
  test("answers in the order in which answers are ready, with their ids, one for each request", async () => {
    const stream = client.stream();
    const { answers, ended } = listen(stream);
    for (const id of ["1", "2", "3"]) stream.write(asking(id));
    await until(() => held.length === 3);
    for (const id of [2, 3, 1]) {
      const before = answers.length;
      heldFor(id).answer();
      await until(() => answers.length > before);
    }
    stream.end();
    expect(answers.map(({ infer_response }) => infer_response!.id)).toEqual(["2", "3", "1"]);
    expect(answers.map(({ infer_response }) => infer_response!.raw_output_contents[0]![0])).toEqual([
      2, 3, 1,
    ]);
    for (const { error_message, infer_response } of answers) {
      expect(error_message).toBe("");
      expect(infer_response).toMatchObject({ model_name: "m", model_version: "3" });
      expect(infer_response!.parameters).toMatchObject({ triton_final_response: { bool_param: true } });
    }
    expect(await settled(ended)).toMatchObject({ code: status.OK });
  });

  test("goes on after a request that fails, whose answer has its id and the reason", async () => {
    const stream = client.stream();
    const { answers, ended } = listen(stream);
    stream.write(asking("1"));
    stream.write(asking("2", { raw_input_contents: [Buffer.from([1, 2])] }));
    stream.write(asking("3"));
    await until(() => held.length === 2 && answers.length === 1);
    heldFor(1).answer(new QueueFullError("m", 7));
    await until(() => answers.length === 2);
    heldFor(3).answer();
    stream.end();
    expect(await settled(ended)).toMatchObject({ code: status.OK });
    expect(answers.map(({ error_message, infer_response }) => [infer_response?.id, error_message])).toEqual([
      ["2", expect.stringContaining("received 2 bytes, expected 1 bytes")],
      ["1", "Exceeds maximum queue size of 7 for 'm'"],
      ["3", ""],
    ]);
  });

  test("outlives bytes that are no message", async () => {
    const bytes = new BytesClient(address);
    const stream = bytes.stream();
    const answers: Buffer[] = [];
    stream.on("data", (answer: Buffer) => answers.push(answer));
    const ended = new Promise<{ code: number }>((resolve) => stream.on("status", resolve));
    stream.write(Buffer.from([0x0a, 0x7f]));
    await until(() => answers.length === 1);
    expect(answers[0]!.toString()).toContain("no ModelInferRequest");
    stream.end();
    expect(await settled(ended)).toMatchObject({ code: status.OK });
    bytes.close();
  });

  test("has a bounded number of requests in work, and reads on as they are answered", async () => {
    const total = 2 * IN_WORK + 50;
    const stream = client.stream();
    const { answers, ended } = listen(stream);
    for (let i = 0; i < total; i++) stream.write(asking(String(i)));
    stream.end();
    await until(() => held.length === IN_WORK);
    // Another call goes through meanwhile, and by then more would have come.
    expect(await client.call("ServerLive")).toEqual({ live: true });
    expect(held.length).toBe(IN_WORK);
    for (let answered = 0; answered < total; answered++) {
      await until(() => held.length > answered);
      held[answered]!.answer();
      expect(held.length).toBeLessThanOrEqual(answered + IN_WORK);
    }
    expect(await settled(ended)).toMatchObject({ code: status.OK });
    expect(answers.map(({ infer_response }) => Number(infer_response!.id)).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: total }, (_, i) => i),
    );
  });

  test("that is cancelled gives up everything it has in work", async () => {
    const stream = client.stream();
    const { ended } = listen(stream);
    for (const id of ["1", "2"]) stream.write(asking(id));
    await until(() => held.length === 2);
    stream.cancel();
    await until(() => held.every(({ signal }) => signal!.aborted));
    expect(await settled(ended)).toMatchObject({ code: status.CANCELLED });
  });

  test("takes Triton's wish for an empty last answer without sending one", async () => {
    const stream = client.stream();
    const { answers, ended } = listen(stream);
    stream.write(asking("1", { parameters: { triton_enable_empty_final_response: { bool_param: true } } }));
    await until(() => held.length === 1);
    held[0]!.answer();
    stream.end();
    await settled(ended);
    expect(answers.map(({ error_message }) => error_message)).toEqual([""]);
  });
});

describe("a call", () => {
  test("hands on priority, time-out and version, and its own deadline", async () => {
    const parameters = { priority: { uint64_param: 2 }, timeout: { int64_param: 2_500_000 } };
    const answer = client.infer(asking("1", { model_version: "3", parameters }), {
      deadline: Date.now() + 300_000,
    });
    await until(() => held.length === 1);
    const { request, timeoutMs } = held[0]!;
    expect(request).toMatchObject({ version: "3", priority: 2, timeoutMs: 2500 });
    expect(timeoutMs).toBeGreaterThan(0);
    expect(timeoutMs).toBeLessThanOrEqual(300_000);
    held[0]!.answer();
    await settled(answer);
  });

  test("whose deadline passes is DEADLINE_EXCEEDED, and its request is given up", async () => {
    const failure = failureOf(client.infer(asking("1"), { deadline: Date.now() + 500 }));
    expect(await failure).toMatchObject({ code: status.DEADLINE_EXCEEDED });
    // A machine that stood still may not have got as far as asking.
    await until(() => held.every(({ signal }) => signal!.aborted));
  });

  test.each([
    ["a full queue", new QueueFullError("m", 7, 2), status.UNAVAILABLE, "Exceeds maximum queue size of 7"],
    ["a missed deadline", new DeadlineExceededError("m", 5), status.DEADLINE_EXCEEDED, "within 5 ms"],
    ["work that was cancelled", new CancelledError("m"), status.CANCELLED, "m was cancelled"],
    ["a run that failed", new ExecutionError("m", "a reason"), status.INTERNAL, "m failed: a reason"],
    ["anything else", new TypeError("secret"), status.INTERNAL, "Internal error; the log has the details"],
    ["text of any length", new ExecutionError("m", "🙂".repeat(9000)), status.INTERNAL, "🙂🙂"],
  ])("that ends with %s has the status for it", async (_, cause, code, details) => {
    const failure = failureOf(client.infer(asking("1")));
    await until(() => held.length === 1);
    held[0]!.answer(cause);
    expect(await failure).toMatchObject({ code, details: expect.stringContaining(details) });
  });

  test("that met a full queue is told when to try again", async () => {
    const failure = failureOf(client.infer(asking("1")));
    await until(() => held.length === 1);
    held[0]!.answer(new QueueFullError("m", 7, 2));
    const { metadata } = (await failure)!;
    expect(metadata.get("grpc-retry-pushback-ms")).toEqual(["2000"]);
    const [details] = metadata.get("grpc-status-details-bin") as Buffer[];
    expect(details!.toString("latin1")).toContain("google.rpc.RetryInfo");
    expect(details!.toString("latin1")).toContain("QUEUE_FULL");
  });

  test("asks for readiness and hears no", async () => {
    expect(await client.call("ServerReady")).toEqual({ ready: false });
    expect(await client.call("ModelReady", { name: "m" })).toEqual({ ready: false });
  });
});

test("nodes are asked no more whether they have loaded a model, when nobody waits for it", async () => {
  let asked = 0;
  const registry = {
    name: "registry",
    actions: { setLoaded: () => ({ model: "m", versions: [1], aliases: {} }) },
  };
  const states = () => {
    asked++;
    return [{ model: "m", version: "1", state: "loading", reason: "" }];
  };
  const inference = { ...scripted, actions: { ...scripted.actions, states } };
  const node = await startNode(configWith(), ["gateway"], [registry, inference]);
  const other = new OipClient(grpcAddress(node)!);
  const deadline = Date.now() + 300;
  const waiting = failureOf(other.call("RepositoryModelLoad", { model_name: "m" }, { deadline }));
  expect(await waiting).toMatchObject({ code: status.DEADLINE_EXCEEDED });
  let [before, same] = [0, 0];
  await until(() => {
    same = asked === before ? same + 1 : 0;
    before = asked;
    return same === 10;
  });
  other.close();
  await node.stop();
});

describe("stopping", () => {
  test("answers what is in work, ends streams UNAVAILABLE, and takes nothing new", async () => {
    const node = await start();
    const other = new OipClient(grpcAddress(node)!);
    const stream = other.stream();
    const { answers, ended } = listen(stream);
    stream.write(asking("1"));
    const idle = listen(other.stream());
    const unary = settled(other.infer(asking("2")));
    await until(() => held.length === 2);
    const stopped = node.stop();
    expect(await settled(idle.ended)).toMatchObject({ code: status.UNAVAILABLE });
    for (const { answer } of held) answer();
    expect((await unary).id).toBe("2");
    expect(await settled(ended)).toMatchObject({
      code: status.UNAVAILABLE,
      details: "The gateway is shutting down and takes no new work",
    });
    expect(answers.map(({ infer_response }) => infer_response!.id)).toEqual(["1"]);
    await settled(stopped);
    expect(await failureOf(other.call("ServerLive"))).toMatchObject({ code: status.UNAVAILABLE });
    other.close();
  });
});

async function withBodyTimeout(bodyTimeoutMs: number): Promise<ServiceBroker> {
  const node = new ServiceBroker(brokerOptions(configWith()));
  node.createService({ ...gatewayService, settings: { ...gatewayService.settings, bodyTimeoutMs } });
  node.createService(scripted);
  await node.start();
  return node;
}

test("a request that does not come to its end is given up, and a silent stream is not", async () => {
  const node = await withBodyTimeout(50);
  const other = new OipClient(grpcAddress(node)!);
  const stream = other.stream();
  const { answers, ended } = listen(stream);
  const session = connect(`http://${grpcAddress(node)}`);
  const trailers = new Promise<Record<string, unknown>>((resolve) => {
    const request = session.request({
      ":method": "POST",
      ":path": "/inference.GRPCInferenceService/ModelInfer",
      "content-type": "application/grpc",
      te: "trailers",
    });
    request.on("response", resolve);
    // The first three of ten bytes.
    request.write(Buffer.from([0, 0, 0, 0, 10, 0x0a, 0x01, 0x61]));
  });
  expect(await settled(trailers)).toMatchObject({
    "grpc-status": String(status.DEADLINE_EXCEEDED),
    "grpc-message": encodeURI("Receiving the request did not finish within 50 ms"),
  });
  session.destroy();
  stream.write(asking("1"));
  await until(() => held.length === 1);
  held[0]!.answer();
  stream.end();
  expect(await settled(ended)).toMatchObject({ code: status.OK });
  expect(answers).toHaveLength(1);
  other.close();
  await node.stop();
});

test("calls that end before their request has come leave no timer behind", async () => {
  const node = await withBodyTimeout(600_000);
  const session = connect(`http://${grpcAddress(node)}`).on("error", () => {});
  const begin = () =>
    session
      .request({
        ":method": "POST",
        ":path": "/inference.GRPCInferenceService/ServerLive",
        "content-type": "application/grpc",
      })
      .on("error", () => {});
  const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
  const answered = async (body: Uint8Array): Promise<void> => {
    const request = begin();
    const answer = new Promise((resolve) => request.once("response", resolve));
    request.write(body);
    await settled(answer);
    request.destroy();
  };
  await answered(Buffer.alloc(10));
  const before = timers();
  const begun = Array.from({ length: 200 }, begin);
  for (const request of begun) request.write(Buffer.alloc(3));
  await until(() => timers() >= before + 200);
  for (const request of begun) request.destroy();
  // Reset before they have begun, refused for a second message, or for one that is too large.
  for (let i = 0; i < 200; i++) begin().close();
  for (let i = 0; i < 50; i++) {
    await answered(Buffer.alloc(10));
    await answered(Buffer.from([0, 255, 255, 255, 255]));
  }
  await until(() => timers() <= before);
  session.destroy();
  await node.stop();
});

describe("the port", () => {
  test("that is taken stops the start with its name, and nothing is left listening", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => taken.once("listening", resolve));
    const { port } = taken.address() as { port: number };
    await expect(start({ MOIETY_GRPC_PORT: String(port) })).rejects.toMatchObject({
      type: "PORT_IN_USE",
      message: `Port ${port} on 127.0.0.1 is in use; set MOIETY_GRPC_PORT to a free port (0 picks one)`,
    });
    await new Promise((resolve) => taken.close(resolve));
  });

  test("can be switched off", async () => {
    const node = await start({ MOIETY_GRPC_PORT: "off" });
    expect(grpcAddress(node)).toBeUndefined();
    await node.stop();
  });
});
