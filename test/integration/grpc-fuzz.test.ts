/**
 * Every gRPC entry against what no proper client sends: messages that are nearly right or not at all, data that do not fit
 * what is said of them, frames and headers that lie, bytes that are no HTTP/2. Whatever comes, the answer blames the
 * client, it comes, and the next request is answered rightly. Mutations are seeded: a failure names the seed and the
 * message that brought it about.
 */

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { type ClientHttp2Session, connect as connectHttp2, type OutgoingHttpHeaders } from "node:http2";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type ServiceError, status } from "@grpc/grpc-js";
import type { ServiceBroker } from "moleculer";
import { grpcAddress } from "../../cli/node.ts";
import { startEchoNode } from "../fixtures/echo-node.ts";
import { settled } from "../fixtures/eventually.ts";
import { BytesClient, type InferMessage, OipClient } from "../fixtures/grpc-client.ts";
import { randomStream } from "../fixtures/onnx-models.ts";
import { mutatedMessage } from "../fixtures/wire-mutation.ts";

const HANG_MS = 60_000;
const INFERENCE = "/inference.GRPCInferenceService";
const HEALTH = "/grpc.health.v1.Health";

let directory: string;
let broker: ServiceBroker;
let address: string;
let client: OipClient;
let bytes: BytesClient;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-grpc-fuzz-"));
  broker = await startEchoNode(directory);
  address = grpcAddress(broker)!;
  client = new OipClient(address);
  bytes = new BytesClient(address);
});

afterAll(async () => {
  client?.close();
  bytes?.close();
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** Nothing of what was sent has harmed those that come after. */
afterEach(async () => {
  const x = Float32Array.of(1, 2);
  const request = {
    model_name: "identity-fp32",
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 2] }],
    raw_input_contents: [new Uint8Array(x.buffer)],
  };
  const { raw_output_contents } = await settled(client.infer(request), HANG_MS);
  expect(raw_output_contents).toEqual([Buffer.from(x.buffer)]);
});

/** What may be answered to a message of whatever kind: it works, or the client is to blame. */
const FAULTS_OF_CLIENTS: readonly number[] = [
  status.OK,
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.RESOURCE_EXHAUSTED,
];

const RECORDED = (
  JSON.parse(readFileSync(new URL("../fixtures/triton/grpc-requests.json", import.meta.url), "utf8")) as {
    request: string;
  }[]
)
  .map(({ request }) => Buffer.from(request, "base64"))
  // The other looks its rows up: an index that is out of bounds fails in the model, which nobody else can know.
  .filter((request) => request.includes("identity"));

const tag = (field: number) => new BinaryWriter().tag(field, WireType.LengthDelimited);
const named = (name: string, version: string) =>
  Buffer.from(tag(1).string(name).tag(2, WireType.LengthDelimited).string(version).finish());
/** A model, and a parameter of the request. */
const change = (model: string, parameter: string) => {
  const entry = tag(1).string(parameter).tag(2, WireType.LengthDelimited).fork();
  const value = entry.tag(1, WireType.Varint).bool(true).join().finish();
  return Buffer.from(tag(2).string(model).tag(3, WireType.LengthDelimited).bytes(value).finish());
};

/** Per method: messages that work, or would if the model were there, and how many mutations of them are sent. */
const METHODS: readonly [path: string, good: readonly Uint8Array[], mutations: number][] = [
  [`${INFERENCE}/ModelInfer`, RECORDED, 1500],
  [`${INFERENCE}/ModelReady`, [named("lookup", "1")], 200],
  [`${INFERENCE}/ModelMetadata`, [named("lookup", "1")], 200],
  [`${INFERENCE}/ModelConfig`, [named("lookup", "1")], 200],
  [`${INFERENCE}/ModelStatistics`, [named("lookup", "1")], 200],
  [`${INFERENCE}/RepositoryIndex`, [Buffer.from([0x10, 0x01]), tag(1).string("").finish()], 200],
  [`${INFERENCE}/RepositoryModelLoad`, [change("nosuch", "unload_dependents")], 200],
  [`${INFERENCE}/RepositoryModelUnload`, [change("nosuch", "unload_dependents")], 200],
  [`${HEALTH}/Check`, [named("lookup", "1")], 200],
];

test("methods that take nothing take anything", async () => {
  for (const method of ["ServerLive", "ServerReady", "ServerMetadata"])
    for (const message of [named("unknown", "fields"), Buffer.alloc(100_000, 0xff)])
      expect(await settled(bytes.send(method, message), HANG_MS)).toMatchObject({ code: status.OK });
});

describe("messages that are nearly right, to", () => {
  test.each(METHODS)("%s", async (path, good, mutations) => {
    const codes = new Set<number>();
    let next = 0;
    const sender = async (): Promise<void> => {
      for (let seed = next++; seed < mutations; seed = next++) {
        const message = mutatedMessage(good[seed % good.length]!, randomStream(seed));
        const { code, details } = await settled(bytes.sendTo(path, message), HANG_MS);
        codes.add(code);
        if (!FAULTS_OF_CLIENTS.includes(code) || (code !== status.OK && details === ""))
          throw new Error(
            `seed ${seed}: ${status[code]} ${details}, to ${Buffer.from(message).toString("hex").slice(0, 600)}`,
          );
      }
    };
    await Promise.all(Array.from({ length: 8 }, sender));
    expect(codes).toContain(status.INVALID_ARGUMENT);
  });
});

test("messages that are nearly right, on one stream: each is answered, and the stream goes on", async () => {
  const total = 600;
  const stream = bytes.stream();
  let answers = 0;
  stream.on("data", () => answers++);
  const ended = new Promise<{ code: number }>((resolve) => stream.on("status", resolve));
  for (let seed = 0; seed < total; seed++)
    stream.write(Buffer.from(mutatedMessage(RECORDED[seed % RECORDED.length]!, randomStream(seed))));
  stream.end();
  expect(await settled(ended, HANG_MS)).toMatchObject({ code: status.OK });
  expect(answers).toBe(total);
});

describe("tensors that are not what is said of them", () => {
  const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
  const asking = (input: object, changes: InferMessage = {}): InferMessage => ({
    model_name: "identity-fp32",
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 2], ...input }],
    raw_input_contents: [floats(1, 2)],
    ...changes,
  });
  const typed = (contents: Record<string, unknown[]>, input: object = {}) =>
    asking({ contents, ...input }, { raw_input_contents: [] });
  const refused = async (request: InferMessage) => {
    const failure = await settled(
      client.infer(request).then(
        () => ({ code: status.OK, details: "" }),
        (error: ServiceError) => error,
      ),
      HANG_MS,
    );
    expect(failure).toMatchObject({ code: status.INVALID_ARGUMENT });
    expect(failure.details.length).toBeLessThan(1100);
  };

  test.each<[string, (number | string)[]]>([
    ["products that overflow to what is there", ["4294967296", "4294967296", 2]],
    ["products that overflow to nothing", ["9223372036854775807", "9223372036854775807"]],
    ["a product below 2^64 and above 2^53", ["4294967296", "2147483648"]],
    ["the least integer", ["-9223372036854775808", 2]],
    ["two negative ones", [-1, -2]],
    ["none", []],
    ["one", [2]],
    ["a zero", [0, 2]],
    ["zeros and very many", [0, "1099511627776"]],
    ["thirty-three", new Array(33).fill(1)],
    ["a hundred thousand", new Array(100_000).fill(1)],
  ])("dimensions: %s", async (_, shape) => {
    await refused(asking({ shape }));
    await refused(typed({ fp32_contents: [1, 2] }, { shape }));
  });

  test("bytes: any other number of them", async () => {
    for (const length of [0, 1, 7, 9, 12, 16, 1 << 20])
      await refused(asking({}, { raw_input_contents: [new Uint8Array(length)] }));
  });

  test("raw data: any other number of them, and typed contents beside", async () => {
    for (const count of [2, 3, 100, 5000])
      await refused(asking({}, { raw_input_contents: new Array(count).fill(floats(1, 2)) }));
    await refused(asking({ contents: { fp32_contents: [1, 2] } }));
    await refused(asking({ contents: {} }));
  });

  test.each<[string, Record<string, unknown[]>]>([
    ["nothing", {}],
    ["another field", { fp64_contents: [1, 2] }],
    ["two fields", { fp32_contents: [1, 2], int_contents: [1] }],
    ["a hundred thousand", { fp32_contents: new Array(100_000).fill(0) }],
    ["text", { bytes_contents: [Buffer.alloc(4), Buffer.alloc(4)] }],
  ])("typed contents: %s", async (_, contents) => {
    await refused(typed(contents));
  });

  test("strings whose lengths lie", async () => {
    const text = (length: number, string: string) => {
      const part = Buffer.alloc(4 + string.length);
      part.writeUInt32LE(length);
      part.write(string, 4);
      return part;
    };
    for (const data of [
      [text(2 ** 32 - 1, "ab"), text(1, "c")],
      [text(3, "ab"), text(1, "c")],
      [text(6, "ab"), text(1, "c")],
      [text(7, "abcdefg")],
      [text(2, "ab"), text(0, ""), text(0, "")],
      [text(2, "ab"), Buffer.alloc(3)],
      [Buffer.from([2, 0, 0, 0, 0xc3, 0x28]), text(1, "c")],
    ])
      await refused(
        asking(
          { datatype: "BYTES" },
          { model_name: "identity-bytes", raw_input_contents: [Buffer.concat(data)] },
        ),
      );
  });

  test("names, ids and parameters of megabytes", async () => {
    const long = "x".repeat(4 * 2 ** 20);
    await refused(asking({ name: long }));
    await refused(asking({ datatype: long }));
    await refused(asking({}, { model_name: long }));
    await refused(asking({}, { outputs: [{ name: long }] }));
    await refused(asking({}, { parameters: { priority: { string_param: long } } }));
    await refused(asking({}, { parameters: { [`triton_${long}`]: { int64_param: 1 } } }));
  });

  test("values of parameters at the ends of their type", async () => {
    for (const int64_param of ["-9223372036854775808", "9223372036854775807", -1])
      for (const name of ["priority", "timeout"])
        await refused(asking({}, { parameters: { [name]: { int64_param } } }));
  });

  test("groups in groups, as deep as fits, wherever", async () => {
    const deep = Buffer.alloc(200_000, 0x0b);
    for (const field of [4, 5, 6]) {
      const message = tag(field).bytes(deep).finish();
      expect(await settled(bytes.send("ModelInfer", message), HANG_MS)).toMatchObject({
        code: status.INVALID_ARGUMENT,
      });
    }
    for (const method of ["RepositoryModelLoad", "ModelConfig", "RepositoryIndex"])
      expect(await settled(bytes.send(method, deep), HANG_MS)).toMatchObject({
        code: status.INVALID_ARGUMENT,
      });
  });
});

/** Headers and bytes as they are, over HTTP/2. */
describe("calls that no library makes", () => {
  let session: ClientHttp2Session;

  beforeEach(() => {
    session = connectHttp2(`http://${address}`);
    session.on("error", () => {});
  });

  afterEach(() => session.destroy());

  type Sent = { headers?: OutgoingHttpHeaders; body?: Uint8Array; open?: boolean };
  /** The HTTP status and, where there is one, that of gRPC; or how the stream ended without. */
  function outcome({ headers = {}, body = EMPTY, open = false }: Sent): Promise<string> {
    return settled(
      new Promise((resolve) => {
        const request = session.request({
          ":method": "POST",
          ":path": `${INFERENCE}/ServerLive`,
          "content-type": "application/grpc",
          te: "trailers",
          ...headers,
        });
        const done = (found: Record<string, unknown>): void => {
          if (found["grpc-status"] !== undefined) resolve(status[Number(found["grpc-status"])]!);
          else if (found[":status"] !== 200) resolve(`HTTP ${found[":status"]}`);
        };
        request
          .on("response", done)
          .on("trailers", done)
          .on("error", () => {})
          .resume();
        request.once("close", () => resolve(`closed ${request.rstCode}`));
        if (open) request.write(body);
        else request.end(body);
      }),
      HANG_MS,
    );
  }

  const EMPTY = Buffer.alloc(5);
  const framed = (flag: number, length: number, message: Uint8Array) => {
    const prefix = Buffer.alloc(5);
    prefix.writeUInt8(flag);
    prefix.writeUInt32BE(length, 1);
    return Buffer.concat([prefix, message]);
  };
  const PROTOCOL_ERROR = "closed 1";
  const ENHANCE_YOUR_CALM = "closed 11";

  test.each<[string, Sent, string]>([
    ["a proper one", {}, "OK"],
    ["a path that is not there", { headers: { ":path": "/x/é" } }, "UNIMPLEMENTED"],
    ["a path with odd escapes", { headers: { ":path": "/x/%zz" } }, "UNIMPLEMENTED"],
    ["a path of 10,000 characters", { headers: { ":path": `/${"x".repeat(10_000)}` } }, "UNIMPLEMENTED"],
    ["a path that is an object's", { headers: { ":path": "/__proto__" } }, "UNIMPLEMENTED"],
    ["a path that is none", { headers: { ":path": "x" } }, PROTOCOL_ERROR],
    ["another content type", { headers: { "content-type": "text/plain" } }, "HTTP 415"],
    [
      "an encoding nobody knows",
      { headers: { "grpc-encoding": "br" }, body: framed(1, 1, EMPTY) },
      "UNIMPLEMENTED",
    ],
    ["no message", { body: new Uint8Array(0) }, "UNIMPLEMENTED"],
    ["half a prefix", { body: new Uint8Array(2) }, "UNIMPLEMENTED"],
    ["a message shorter than it says", { body: framed(0, 9, EMPTY) }, "UNIMPLEMENTED"],
    ["two messages", { body: Buffer.alloc(10) }, "UNIMPLEMENTED"],
    ["a hundred thousand messages", { body: Buffer.alloc(500_000) }, "UNIMPLEMENTED"],
    ["two messages and no end", { body: Buffer.alloc(10), open: true }, "UNIMPLEMENTED"],
    ["a message of 4 GiB", { body: framed(0, 2 ** 32 - 1, EMPTY) }, "RESOURCE_EXHAUSTED"],
    [
      "a message of 4 GiB and no end",
      { body: framed(0, 2 ** 32 - 1, EMPTY), open: true },
      "RESOURCE_EXHAUSTED",
    ],
    [
      "a message that grows beyond the limit",
      {
        headers: { "grpc-encoding": "gzip", ":path": `${INFERENCE}/ModelInfer` },
        body: ((zeros) => framed(1, zeros.length, zeros))(gzipSync(Buffer.alloc(32 * 2 ** 20))),
      },
      "RESOURCE_EXHAUSTED",
    ],
    ["a binary header that is none", { headers: { "x-bin": "%%%" } }, "OK"],
    [
      "a thousand headers",
      { headers: Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`x${i}`, "y"])) },
      ENHANCE_YOUR_CALM,
    ],
    ["a time-out of nothing", { headers: { "grpc-timeout": "0n" } }, "OK"],
    ["a time-out of ages", { headers: { "grpc-timeout": "99999999H" } }, "OK"],
    [
      "a health check that is no message",
      { headers: { ":path": `${HEALTH}/Check` }, body: framed(0, 1, Buffer.from([0xff])) },
      "INVALID_ARGUMENT",
    ],
    [
      "a watch that is no message",
      { headers: { ":path": `${HEALTH}/Watch` }, body: framed(0, 1, Buffer.from([0xff])) },
      "INVALID_ARGUMENT",
    ],
    [
      "a watch of nothing",
      { headers: { ":path": `${HEALTH}/Watch` }, body: new Uint8Array(0) },
      "UNIMPLEMENTED",
    ],
    [
      "a stream of empty messages",
      { headers: { ":path": `${INFERENCE}/ModelStreamInfer` }, body: Buffer.alloc(5000) },
      "OK",
    ],
    [
      "a stream of 4 GiB",
      {
        headers: { ":path": `${INFERENCE}/ModelStreamInfer` },
        body: framed(0, 2 ** 32 - 1, EMPTY),
        open: true,
      },
      "RESOURCE_EXHAUSTED",
    ],
    // As gRPC has it: these are found below the methods.
    ["a time-out that is none", { headers: { "grpc-timeout": "soon" } }, "INTERNAL"],
    ["gzip that is none", { headers: { "grpc-encoding": "gzip" }, body: framed(1, 5, EMPTY) }, "INTERNAL"],
    [
      "gzip of nothing",
      { headers: { "grpc-encoding": "gzip" }, body: framed(1, 0, new Uint8Array(0)) },
      "INTERNAL",
    ],
  ])("%s", async (_, sent, expected) => {
    expect(await outcome(sent)).toBe(expected);
  });

  test("requests that are begun, in the hundreds, keep nobody else waiting", async () => {
    const begun = Array.from({ length: 500 }, () => {
      const request = session.request({
        ":method": "POST",
        ":path": `${INFERENCE}/ModelInfer`,
        "content-type": "application/grpc",
      });
      request.on("error", () => {}).write(framed(0, 1000, EMPTY));
      return request;
    });
    expect(await outcome({})).toBe("OK");
    for (const request of begun) request.destroy();
  });

  test("calls that are reset as soon as they are made, in the thousands", async () => {
    for (let i = 0; i < 3000; i++) {
      const request = session.request({
        ":method": "POST",
        ":path": `${INFERENCE}/ServerLive`,
        "content-type": "application/grpc",
      });
      request.on("error", () => {}).close(8);
    }
    expect(await outcome({})).toMatch(/OK|closed/);
  });
});

describe("connections", () => {
  const [host, port] = ["127.0.0.1", () => Number(address.split(":")[1])];
  const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);

  /** Sends, says no more, and waits until the other side has closed. */
  const closed = (sent: Uint8Array) =>
    settled(
      new Promise<void>((resolve) => {
        const socket = connect(port(), host, () => socket.end(sent));
        socket
          .on("error", () => {})
          .once("close", () => resolve())
          .resume();
      }),
      HANG_MS,
    );

  test.each<[string, Uint8Array]>([
    ["nothing", new Uint8Array(0)],
    ["HTTP/1.1", Buffer.from("POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")],
    ["a greeting of TLS", Buffer.from("1603010200010001fc0303", "hex")],
    ["half a preface", PREFACE.subarray(0, 12)],
    ["a preface and nothing", PREFACE],
    [
      "frames that end early",
      Buffer.concat([PREFACE, SETTINGS, Buffer.from([0, 0, 200, 1, 4, 0, 0, 0, 1, 0x82])]),
    ],
    [
      "frames larger than agreed",
      Buffer.concat([PREFACE, SETTINGS, Buffer.from([255, 255, 255, 0, 0, 0, 0, 0, 1])]),
    ],
    [
      "data of a stream that is not open",
      Buffer.concat([PREFACE, SETTINGS, Buffer.from([0, 0, 0, 0, 1, 0, 0, 0, 9])]),
    ],
  ])("that bring %s are closed", async (_, sent) => {
    await closed(sent);
  });

  test("that bring anything after the preface are closed", async () => {
    for (let seed = 0; seed < 200; seed++) {
      const random = randomStream(seed);
      const noise = Buffer.from(Array.from({ length: 9 + Math.floor(random() * 200) }, () => random() * 256));
      // A length that fits, so that more than the frame's size is looked at.
      if (seed % 2 === 0) noise.writeUIntBE(Math.floor(random() * (noise.length - 8)), 0, 3);
      await closed(Buffer.concat([PREFACE, SETTINGS, noise]));
    }
  });

  test("that are cut in the middle of a message leave nothing behind", async () => {
    const message = Buffer.alloc(5);
    message.writeUInt32BE(100_000, 1);
    for (let i = 0; i < 20; i++) {
      const session = connectHttp2(`http://${address}`);
      session.on("error", () => {});
      const request = session.request({
        ":method": "POST",
        ":path": `${INFERENCE}/ModelInfer`,
        "content-type": "application/grpc",
      });
      request.on("error", () => {});
      await settled(new Promise((resolve) => request.write(message, resolve)), HANG_MS);
      session.destroy();
    }
  });
});
