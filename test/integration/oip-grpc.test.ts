/**
 * Open Inference Protocol v2 over gRPC against real models: what Triton's client sends, the rules for data, errors, and
 * whatever no proper client would send. How calls and streams behave in time is in grpc-calls.test.ts.
 */

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type ServiceError, status } from "@grpc/grpc-js";
import type { ServiceBroker } from "moleculer";
import { grpcAddress } from "../../cli/node.ts";
import { EXTENSIONS } from "../../lib/oip/metadata.ts";
import type { Datatype } from "../../lib/tensor/datatype.ts";
import { startEchoNode } from "../fixtures/echo-node.ts";
import { BytesClient, type InferAnswer, type InferMessage, OipClient } from "../fixtures/grpc-client.ts";

type Recorded = {
  title: string;
  request: string;
  outputs: Record<string, { datatype: Datatype; shape: number[]; data: string }>;
};
const RECORDED = JSON.parse(
  readFileSync(new URL("../fixtures/triton/grpc-requests.json", import.meta.url), "utf8"),
) as Recorded[];

const MAX_BYTES = 2 ** 20;

let directory: string;
let broker: ServiceBroker;
let client: OipClient;
let bytes: BytesClient;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-grpc-"));
  broker = await startEchoNode(directory, {
    MOIETY_SERVER_NAME: "triton",
    MOIETY_SERVER_VERSION: "2.60.0",
    MOIETY_HTTP_MAX_BODY_BYTES: String(MAX_BYTES),
  });
  client = new OipClient(grpcAddress(broker)!);
  bytes = new BytesClient(grpcAddress(broker)!);
});

afterAll(async () => {
  client?.close();
  bytes?.close();
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

const raw = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer);

/** A request for [[1, 2]], with changes. */
const asking = (changes: InferMessage = {}, input: object = {}): InferMessage => ({
  model_name: "identity-fp32",
  inputs: [{ name: "x", datatype: "FP32", shape: [1, 2], ...input }],
  raw_input_contents: [raw(1, 2)],
  ...changes,
});

const outcome = (request: InferMessage) =>
  client.infer(request).then(
    () => ({ code: status.OK, details: "" }),
    ({ code, details }: ServiceError) => ({ code, details }),
  );

const outputsOf = ({ outputs, raw_output_contents }: InferAnswer) =>
  Object.fromEntries(
    outputs.map(({ name, datatype, shape }, i) => [
      name,
      { datatype, shape, data: raw_output_contents[i]!.toString("base64") },
    ]),
  );

describe("requests of Triton's own client", () => {
  test.each(RECORDED.map((recorded) => [recorded.title, recorded] as const))("%s", async (_, recorded) => {
    const { code, details, answer } = await bytes.send("ModelInfer", Buffer.from(recorded.request, "base64"));
    expect([code, details]).toEqual([status.OK, ""]);
    // By the other client's reader of messages.
    expect(outputsOf(await decoded(answer!))).toMatchObject(recorded.outputs);
  });

  async function decoded(answer: Buffer): Promise<InferAnswer> {
    const { loadSync } = await import("@grpc/proto-loader");
    const definition = loadSync("lib/oip/grpc/inference.proto", {
      keepCase: true,
      longs: Number,
      defaults: true,
    });
    const service = definition["inference.GRPCInferenceService"] as unknown as {
      ModelInfer: { responseDeserialize(bytes: Buffer): InferAnswer };
    };
    return service.ModelInfer.responseDeserialize(answer);
  }
});

describe("health and metadata", () => {
  test("say that the server lives and is ready, and what it is", async () => {
    expect(await client.call("ServerLive")).toEqual({ live: true });
    expect(await client.call("ServerReady")).toEqual({ ready: true });
    expect(await client.call("ServerMetadata")).toEqual({
      name: "triton",
      version: "2.60.0",
      extensions: EXTENSIONS,
    });
  });

  test("tell of a model what it takes and gives", async () => {
    expect(await client.call("ModelMetadata", { name: "lookup", version: "1" })).toEqual({
      name: "lookup",
      versions: ["1"],
      platform: "onnxruntime_onnx",
      inputs: [
        { name: "index", datatype: "INT64", shape: [-1] },
        { name: "x", datatype: "FP32", shape: [-1, 2] },
      ],
      outputs: [
        { name: "row", datatype: "FP32", shape: [-1, 2] },
        { name: "echo", datatype: "FP32", shape: [-1, 2] },
      ],
      properties: {},
    });
    await expect(client.call("ModelMetadata", { name: "nosuch" })).rejects.toMatchObject({
      code: status.NOT_FOUND,
      details: expect.stringContaining("Request for unknown model"),
    });
  });

  test("a model is ready when it is served, and one that nobody knows is not", async () => {
    const ready = (name: string, version = "") => client.call("ModelReady", { name, version });
    expect(await ready("lookup")).toEqual({ ready: true });
    expect(await ready("lookup", "1")).toEqual({ ready: true });
    expect(await ready("lookup", "2")).toEqual({ ready: false });
    expect(await ready("nosuch")).toEqual({ ready: false });
    await expect(ready("")).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });
});

describe("an answer", () => {
  test("names model, version and request, and carries its data raw", async () => {
    const answer = await client.infer(asking({ id: "request 7" }));
    expect(answer).toMatchObject({ model_name: "identity-fp32", model_version: "1", id: "request 7" });
    expect(answer.outputs).toMatchObject([{ name: "y", datatype: "FP32", shape: [1, 2] }]);
    expect(answer.raw_output_contents).toEqual([raw(1, 2)]);
  });

  test("has the outputs that were asked for, in their order", async () => {
    const request = {
      model_name: "wide",
      inputs: [{ name: "x", datatype: "FP32", shape: [1, 3] }],
      raw_input_contents: [raw(1, 2, 3)],
    };
    const names = async (...outputs: string[]) =>
      (await client.infer({ ...request, outputs: outputs.map((name) => ({ name })) })).outputs.map(
        ({ name }) => name,
      );
    expect(await names()).toEqual(["double", "same"]);
    expect(await names("same")).toEqual(["same"]);
    expect(await names("same", "double")).toEqual(["same", "double"]);
  });

  test("is the same for typed contents, packed or one by one", async () => {
    const contents = new BinaryWriter();
    for (const value of [1, 2]) contents.tag(6, WireType.Bit32).float(value);
    const input = new BinaryWriter().tag(1, WireType.LengthDelimited).string("x");
    input.tag(2, WireType.LengthDelimited).string("FP32").tag(3, WireType.Varint).int64(1);
    input.tag(3, WireType.Varint).int64(2).tag(5, WireType.LengthDelimited).bytes(contents.finish());
    const request = new BinaryWriter().tag(1, WireType.LengthDelimited).string("identity-fp32");
    const unpacked = await bytes.send(
      "ModelInfer",
      request.tag(5, WireType.LengthDelimited).bytes(input.finish()).finish(),
    );
    const typed = asking({ raw_input_contents: [] }, { contents: { fp32_contents: [1, 2] } });
    expect((await client.infer(typed)).raw_output_contents).toEqual([raw(1, 2)]);
    expect(unpacked.answer!.includes(raw(1, 2))).toBe(true);
  });
});

describe("requests that cannot be answered", () => {
  const contents = (values: Record<string, unknown[]>, datatype = "FP32", shape = [1, 2]) =>
    asking({ raw_input_contents: [] }, { datatype, shape, contents: values });

  test.each<[string, InferMessage, status, string]>([
    ["no model", asking({ model_name: "" }), status.INVALID_ARGUMENT, "model_name"],
    ["an unknown model", asking({ model_name: "nosuch" }), status.NOT_FOUND, "Request for unknown model"],
    ["an unknown version", asking({ model_version: "9" }), status.NOT_FOUND, "version '9'"],
    ["no inputs", { model_name: "identity-fp32" }, status.INVALID_ARGUMENT, "no inputs"],
    ["an unknown input", asking({}, { name: "z" }), status.INVALID_ARGUMENT, '"z"'],
    ["an input without a name", asking({}, { name: "" }), status.INVALID_ARGUMENT, "inputs[0].name"],
    ["an unknown datatype", asking({}, { datatype: "FP12" }), status.INVALID_ARGUMENT, "FP12"],
    ["another datatype", asking({}, { datatype: "INT32" }), status.INVALID_ARGUMENT, "expected FP32"],
    ["an unknown output", asking({ outputs: [{ name: "z" }] }), status.INVALID_ARGUMENT, '"z"'],
    [
      "too few bytes",
      asking({ raw_input_contents: [raw(1)] }),
      status.INVALID_ARGUMENT,
      "received 4 bytes, expected 8",
    ],
    [
      "too many bytes",
      asking({ raw_input_contents: [raw(1, 2, 3)] }),
      status.INVALID_ARGUMENT,
      "received 12 bytes",
    ],
    [
      "raw data for one input more",
      asking({ raw_input_contents: [raw(1, 2), raw(1, 2)] }),
      status.INVALID_ARGUMENT,
      "2 for 1 inputs",
    ],
    [
      "raw data beside typed contents",
      asking({}, { contents: { fp32_contents: [1, 2] } }),
      status.INVALID_ARGUMENT,
      "beside raw_input_contents",
    ],
    [
      "no data",
      asking({ raw_input_contents: [] }),
      status.INVALID_ARGUMENT,
      "expected 2 elements in fp32_contents",
    ],
    ["too few elements", contents({ fp32_contents: [1] }), status.INVALID_ARGUMENT, "expected 2 elements"],
    [
      "too many elements",
      contents({ fp32_contents: [1, 2, 3] }),
      status.INVALID_ARGUMENT,
      "more than 2 elements",
    ],
    [
      "elements in another field",
      contents({ int_contents: [1, 2, 3, 4, 5, 6] }),
      status.INVALID_ARGUMENT,
      "elements in int_contents",
    ],
    [
      "half precision as numbers",
      contents({ fp32_contents: [1, 2] }, "FP16"),
      status.INVALID_ARGUMENT,
      "raw_input_contents",
    ],
    [
      "an INT8 that is none",
      { ...contents({ int_contents: [1, 128] }, "INT8"), model_name: "identity-int8" },
      status.INVALID_ARGUMENT,
      "a value that does not fit",
    ],
    [
      "text that is not UTF-8",
      {
        ...contents({ bytes_contents: [Buffer.from("a"), Buffer.from([0xff])] }, "BYTES"),
        model_name: "identity-bytes",
      },
      status.INVALID_ARGUMENT,
      "contents[1]",
    ],
    ["a shape below 0", asking({}, { shape: [-1, 2] }), status.INVALID_ARGUMENT, "non-negative"],
    ["a huge shape", asking({}, { shape: [2 ** 40, 2 ** 40] }), status.INVALID_ARGUMENT, "received 8 bytes"],
    [
      "a shape beyond 2^53",
      asking({}, { shape: ["9223372036854775807", 2] }),
      status.INVALID_ARGUMENT,
      "non-negative integers",
    ],
    [
      "a huge shape of typed contents",
      contents({ fp32_contents: [1, 2] }, "FP32", [2 ** 50, 2]),
      status.INVALID_ARGUMENT,
      "elements",
    ],
    [
      "more dimensions than there are",
      asking({}, { shape: new Array(2000).fill(1) }),
      status.INVALID_ARGUMENT,
      "at most 32",
    ],
    [
      "an empty batch",
      asking({ raw_input_contents: [new Uint8Array(0)] }, { shape: [0, 2] }),
      status.INVALID_ARGUMENT,
      "at least 1",
    ],
    [
      "shared memory",
      asking({}, { parameters: { shared_memory_region: { string_param: "r" } } }),
      status.INVALID_ARGUMENT,
      "shared memory is not supported",
    ],
    [
      "a priority below 0",
      asking({ parameters: { priority: { int64_param: -1 } } }),
      status.INVALID_ARGUMENT,
      "parameters.priority",
    ],
    [
      "a reserved parameter",
      asking({ parameters: { triton_x: { int64_param: 1 } } }),
      status.INVALID_ARGUMENT,
      "reserved",
    ],
    [
      "classes of text",
      {
        ...contents({ bytes_contents: [Buffer.from("a"), Buffer.from("b")] }, "BYTES"),
        model_name: "identity-bytes",
        outputs: [{ name: "y", parameters: { classification: { int64_param: 1 } } }],
      },
      status.INVALID_ARGUMENT,
      "BYTES",
    ],
  ])("%s", async (_, request, code, details) => {
    expect(await outcome(request)).toEqual({ code, details: expect.stringContaining(details) });
  });

  test("larger than the limit are refused with RESOURCE_EXHAUSTED and both sizes", async () => {
    const request = asking({ raw_input_contents: [new Uint8Array(MAX_BYTES)] });
    expect(await outcome(request)).toEqual({
      code: status.RESOURCE_EXHAUSTED,
      details: expect.stringMatching(new RegExp(`larger than max \\(\\d+ vs ${MAX_BYTES}\\)`)),
    });
    expect(await client.call("ServerLive")).toEqual({ live: true });
  });

  test("carry their type and details where gRPC has them", async () => {
    const { metadata } = await bytes.send("ModelInfer", Buffer.from([0x0a, 0x01, 0x61]));
    const [details] = metadata.get("grpc-status-details-bin") as Buffer[];
    expect(details!.toString("latin1")).toContain("type.googleapis.com/google.rpc.ErrorInfo");
    expect(details!.toString("latin1")).toContain("MODEL_NOT_FOUND");
  });
});

describe("bytes that are no message", () => {
  const valid = Buffer.from(RECORDED.find(({ title }) => title === "classes")!.request, "base64");

  test.each<[string, Uint8Array]>([
    ["a length beyond the end", Buffer.from([0x0a, 0x7f, 0x61])],
    ["a varint without an end", Buffer.from([0x18, ...new Array(12).fill(0xff)])],
    ["field number 0", Buffer.from([0x02, 0x00])],
    ["an end without a group", Buffer.from([0x0c])],
    ["groups without end", Buffer.alloc(50_000, 0x0b)],
    ["a name that is not UTF-8", Buffer.from([0x0a, 0x02, 0xff, 0xfe])],
    [
      "a field that reaches beyond its message",
      Buffer.from([0x2a, 0x02, 0x0a, 0x05, 0x61, 0x61, 0x61, 0x61, 0x61]),
    ],
  ])("%s", async (_, message) => {
    for (const method of ["ModelInfer", "ModelMetadata", "ModelReady"])
      expect(await bytes.send(method, message)).toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  test("cut off anywhere are the client's fault or another proper request, and never the server's", async () => {
    for (let length = 0; length < valid.length; length++) {
      const { code } = await bytes.send("ModelInfer", valid.subarray(0, length));
      const faultOfClient = code === status.INVALID_ARGUMENT || code === status.NOT_FOUND;
      // Cut before the outputs or the data's last field it may be a whole request.
      expect({ length, code: faultOfClient || code === status.OK ? "fine" : code }).toEqual({
        length,
        code: "fine",
      });
    }
  });

  test("with any one byte changed never are the server's fault", async () => {
    const allowed = [status.OK, status.INVALID_ARGUMENT, status.NOT_FOUND];
    for (let at = 0; at < valid.length; at++)
      for (const value of [0x00, 0x7f, 0x80, 0xff]) {
        const changed = Buffer.from(valid);
        changed[at] = value;
        const { code } = await bytes.send("ModelInfer", changed);
        expect({ at, value, allowed: allowed.includes(code) ? "yes" : code }).toEqual({
          at,
          value,
          allowed: "yes",
        });
      }
  });

  test("of very many small parts are refused before they are made", async () => {
    const inputs = Buffer.alloc(MAX_BYTES - 100, Buffer.from([0x2a, 0x00]));
    const raws = Buffer.alloc(MAX_BYTES - 100, Buffer.from([0x3a, 0x00]));
    for (const message of [inputs, raws])
      expect(await bytes.send("ModelInfer", message)).toMatchObject({
        code: status.INVALID_ARGUMENT,
        details: expect.stringContaining("at most 4096"),
      });
  });

  test("fields that are not known are passed over, as protocol buffers ask", async () => {
    const unknown = new BinaryWriter().tag(99, WireType.LengthDelimited).string("later").finish();
    const { code, answer } = await bytes.send("ModelInfer", Buffer.concat([unknown, valid, unknown]));
    expect([code, answer!.length > 0]).toEqual([status.OK, true]);
  });
});
