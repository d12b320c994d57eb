/** Open Inference Protocol v2 over HTTP with its extensions, as Triton's clients speak it, against real models. */

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync, inflateSync } from "node:zlib";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { decodeRaw, encodeRaw } from "../../lib/oip/raw-tensor.ts";
import { parseExactIntegers } from "../../lib/oip/tensor-data.ts";
import type { PredictRequest } from "../../lib/protocol/inference.ts";
import { allocate, type Datatype, type TensorData } from "../../lib/tensor/datatype.ts";
import { elementCount } from "../../lib/tensor/tensor.ts";
import { startEchoNode } from "../fixtures/echo-node.ts";
import { openSocket, readAnswer } from "../fixtures/raw-http.ts";

const HEADER = "inference-header-content-length";

type Printed = {
  name: string;
  datatype: Datatype;
  shape: number[];
  data?: unknown[];
  parameters?: { binary_data_size: number };
};
type Printout = { id?: string; model_name: string; outputs: Printed[]; error?: string; type?: string };
type Answer = { status: number; headers: Headers; json: Printout; binary: Buffer };

type Recorded = {
  title: string;
  model: string;
  headerBytes: number | null;
  body: string;
  outputs: Record<string, { datatype: Datatype; shape: number[]; data: string }>;
};
const RECORDED = JSON.parse(
  readFileSync(new URL("../fixtures/triton/requests.json", import.meta.url), "utf8"),
) as Recorded[];

let directory: string;
let broker: ServiceBroker;
let url: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-oip-"));
  broker = await startEchoNode(directory, {
    MOIETY_SERVER_NAME: "triton",
    MOIETY_SERVER_VERSION: "2.60.0",
  });
  url = gatewayUrl(broker);
});

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

async function post(
  model: string,
  body: Uint8Array | string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${url}/v2/models/${model}/infer`, {
    method: "POST",
    body: body as Uint8Array<ArrayBuffer>,
    headers: { "Accept-Encoding": "identity", ...headers },
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  const headerBytes = Number(response.headers.get(HEADER) ?? bytes.length);
  return {
    status: response.status,
    headers: response.headers,
    json: parseExactIntegers(bytes.toString("utf8", 0, headerBytes)) as Printout,
    binary: bytes.subarray(headerBytes),
  };
}

/** A JSON header and binary data, and the header line that tells them apart. */
function withBinary(
  header: object,
  ...data: Uint8Array[]
): [body: Uint8Array, headers: Record<string, string>] {
  const json = Buffer.from(JSON.stringify(header));
  return [Buffer.concat([json, ...data]), { [HEADER]: String(json.length) }];
}

/** The outputs by name, whichever way they came. */
function outputsOf({
  json,
  binary,
}: Answer): Record<string, { datatype: Datatype; shape: number[]; data: TensorData }> {
  let at = 0;
  const outputs = json.outputs.map(({ name, datatype, shape, data, parameters }) => {
    const size = parameters?.binary_data_size ?? 0;
    const bytes = parameters ? binary.subarray(at, at + size) : jsonBytes(datatype, data!);
    at += size;
    return [name, { datatype, shape, data: decodeRaw(datatype, elementCount(shape), bytes, name) }] as const;
  });
  expect(at).toBe(binary.length);
  return Object.fromEntries(outputs);
}

function jsonBytes(datatype: Datatype, values: unknown[]): Uint8Array {
  if (datatype === "BYTES") return encodeRaw({ data: values as string[] });
  const data = allocate(datatype, values.length) as BigInt64Array | Float64Array;
  for (const [i, value] of values.entries())
    data[i] =
      data instanceof BigInt64Array || data instanceof BigUint64Array
        ? BigInt(value as number)
        : Number(value);
  return encodeRaw({ data });
}

const floats = (...values: number[]) => new Uint8Array(new Float32Array(values).buffer);
const input = (bytes: number, shape: number[], changes: object = {}) => ({
  name: "x",
  datatype: "FP32",
  shape,
  parameters: { binary_data_size: bytes },
  ...changes,
});

describe("requests of Triton's own client", () => {
  test.each(RECORDED.map((recorded) => [recorded.title, recorded] as const))("%s", async (_, recorded) => {
    const { model, headerBytes, body, outputs } = recorded;
    const headers: Record<string, string> = headerBytes === null ? {} : { [HEADER]: String(headerBytes) };
    const answer = await post(model, Buffer.from(body, "base64"), headers);
    expect([answer.status, answer.json.error]).toEqual([200, undefined]);
    const answered = outputsOf(answer);
    for (const [name, { datatype, shape, data }] of Object.entries(outputs)) {
      expect(answered[name]).toMatchObject({ datatype, shape });
      expect(Buffer.from(encodeRaw(answered[name]!)).toString("base64")).toBe(data);
    }
  });
});

test("64-bit integers go through JSON without loss, both ways", async () => {
  const response = await fetch(`${url}/v2/models/identity-uint64/infer`, {
    method: "POST",
    body: '{"inputs":[{"name":"x","shape":[1,2],"datatype":"UINT64","data":[18446744073709551615,9007199254740993]}]}',
  });
  expect(await response.text()).toContain('"data":[18446744073709551615,9007199254740993]');
});

describe("server metadata", () => {
  test("has the configured name and version, and the extensions that work, in Triton's order", async () => {
    expect(await (await fetch(`${url}/v2`)).json()).toEqual({
      name: "triton",
      version: "2.60.0",
      extensions: expect.arrayContaining([
        "classification",
        "schedule_policy",
        "binary_tensor_data",
        "parameters",
      ]),
    });
  });
});

describe("binary data", () => {
  test("are read from bodies that come in pieces, of declared length or not", async () => {
    const values = Float32Array.from({ length: 200_000 }, (_, i) => i);
    const [body, headers] = withBinary(
      {
        inputs: [input(values.byteLength, [2, 100_000])],
        outputs: [{ name: "same", parameters: { binary_data: true } }],
      },
      new Uint8Array(values.buffer),
    );
    const declared = await post("wide", body, headers);
    expect(outputsOf(declared).same!.data).toEqual(values);
    const stream = new Blob([body as Uint8Array<ArrayBuffer>]).stream();
    const response = await fetch(`${url}/v2/models/wide/infer`, {
      method: "POST",
      body: stream,
      headers: { ...headers, "Accept-Encoding": "identity" },
      duplex: "half",
    } as RequestInit);
    const headerBytes = Number(response.headers.get(HEADER));
    expect(
      Buffer.from(await response.arrayBuffer())
        .subarray(headerBytes)
        .equals(Buffer.from(values.buffer)),
    ).toBe(true);
  });

  test("are read from compressed bodies, where the header counts inflated bytes", async () => {
    const [body, headers] = withBinary({ inputs: [input(8, [1, 2])] }, floats(3, 4));
    const answer = await post("identity-fp32", gzipSync(body), { ...headers, "Content-Encoding": "gzip" });
    expect(outputsOf(answer).y!.data).toEqual(new Float32Array([3, 4]));
  });

  test("leave with their own type and header; an answer without them is JSON", async () => {
    const [body, headers] = withBinary(
      { id: "é", parameters: { binary_data_output: true }, inputs: [input(8, [1, 2])] },
      floats(3, 4),
    );
    const binary = await post("identity-fp32", body, headers);
    expect(binary.headers.get("content-type")).toBe("application/octet-stream");
    expect(binary.json).toEqual({
      model_name: "identity-fp32",
      model_version: "1",
      id: "é",
      outputs: [{ name: "y", datatype: "FP32", shape: [1, 2], parameters: { binary_data_size: 8 } }],
    });
    const plain = await post("identity-fp32", ...withBinary({ inputs: [input(8, [1, 2])] }, floats(3, 4)));
    expect(plain.headers.get("content-type")).toBe("application/json");
    expect(plain.headers.get(HEADER)).toBeNull();
  });

  test("carry an infinite output, which JSON cannot", async () => {
    const json = { inputs: [input(4, [1, 1])], outputs: [{ name: "double" }] };
    const [body, headers] = withBinary(json, floats(3e38));
    expect(await post("wide", body, headers)).toMatchObject({
      status: 500,
      json: { type: "EXECUTION_FAILED" },
    });
    const [asBinary, same] = withBinary({ ...json, parameters: { binary_data_output: true } }, floats(3e38));
    expect(outputsOf(await post("wide", asBinary, same)).double!.data).toEqual(
      new Float32Array([Number.POSITIVE_INFINITY]),
    );
  });

  test("are the whole body of a raw request, and all of its answer's outputs", async () => {
    const answer = await post("wide", floats(1, 2, 3), { [HEADER]: "0" });
    expect(outputsOf(answer)).toEqual({
      double: { datatype: "FP32", shape: [1, 3], data: new Float32Array([2, 4, 6]) },
      same: { datatype: "FP32", shape: [1, 3], data: new Float32Array([1, 2, 3]) },
    });
    expect(outputsOf(await post("wide/versions/1", floats(1), { [HEADER]: "0" })).same!.shape).toEqual([
      1, 1,
    ]);
    for (const [model, message] of [
      ["lookup", "has 2 inputs"],
      ["identity-fp32", "received 12 bytes, expected 8 bytes"],
      ["nosuch", "Request for unknown model"],
    ] as const)
      expect((await post(model, floats(1, 2, 3), { [HEADER]: "0" })).json.error).toContain(message);
  });

  test.each(["x", "-1", "1e2", "0x10", "9999", "1, 1", "9".repeat(40)])(
    "are refused with a header of %s",
    async (header) => {
      const [body] = withBinary({ inputs: [input(8, [1, 2])] }, floats(3, 4));
      const answer = await post("identity-fp32", body, { [HEADER]: header });
      expect(answer).toMatchObject({ status: 400, json: { type: "INVALID_INPUT" } });
      expect(answer.json.error).toMatch(/^Invalid header Inference-Header-Content-Length: received/);
    },
  );

  test("with NUL characters in strings are refused, not cut off", async () => {
    const body = JSON.stringify({
      inputs: [{ name: "x", shape: [1, 2], datatype: "BYTES", data: ["ok", "a\0b"] }],
    });
    const { status, json } = await post("identity-bytes", body);
    expect([status, json.error]).toEqual([400, expect.stringContaining('inputs["x"].data[1]')]);
  });
});

describe("classification", () => {
  test("is refused for outputs that are no scores", async () => {
    for (const datatype of ["bytes", "bool"]) {
      const data = datatype === "bytes" ? ["a", "b"] : [true, false];
      const { status, json } = await post(
        `identity-${datatype}`,
        JSON.stringify({
          inputs: [{ name: "x", shape: [1, 2], datatype: datatype.toUpperCase(), data }],
          outputs: [{ name: "y", parameters: { classification: 1 } }],
        }),
      );
      expect([status, json.error]).toEqual([400, expect.stringContaining("expected an output of integers")]);
    }
  });
});

describe("compressed answers", () => {
  const zeros = JSON.stringify({
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 5000], data: new Array(5000).fill(0) }],
  });

  async function bytesOf(body: string, acceptEncoding: string): Promise<{ headers: string; body: Buffer }> {
    const socket = openSocket(url);
    socket.write(
      `POST /v2/models/wide/infer HTTP/1.0\r\nHost: x\r\nAccept-Encoding: ${acceptEncoding}\r\n` +
        `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
    const parts: Buffer[] = [];
    for await (const part of socket) parts.push(part as Buffer);
    const whole = Buffer.concat(parts);
    const end = whole.indexOf("\r\n\r\n");
    return { headers: whole.toString("latin1", 0, end), body: whole.subarray(end + 4) };
  }

  test.each([
    ["gzip", gunzipSync],
    ["deflate", inflateSync],
  ])("are %s when asked for, and hold the same", async (encoding, unpack) => {
    const plain = await bytesOf(zeros, "identity");
    expect(plain.headers).not.toContain("Content-Encoding");
    const packed = await bytesOf(zeros, encoding);
    expect(packed.headers).toContain(`Content-Encoding: ${encoding}`);
    expect(packed.headers).toContain("Vary: Accept-Encoding");
    expect(packed.body.length).toBeLessThan(plain.body.length / 10);
    expect(unpack(packed.body).equals(plain.body)).toBe(true);
  });

  test("are none for small answers", async () => {
    const small = JSON.stringify({ inputs: [{ name: "x", datatype: "FP32", shape: [1, 1], data: [1] }] });
    expect((await bytesOf(small, "gzip")).headers).not.toContain("Content-Encoding");
  });

  test("hold binary data too, and their header counts bytes before compression", async () => {
    const values = new Float32Array(100_000);
    const [body, headers] = withBinary(
      { parameters: { binary_data_output: true }, inputs: [input(values.byteLength, [1, 100_000])] },
      new Uint8Array(values.buffer),
    );
    const answer = await post("wide", body, { ...headers, "Accept-Encoding": "gzip, deflate" });
    expect(answer.headers.get("content-encoding")).toBe("gzip");
    expect(outputsOf(answer).same!.data).toEqual(values);
  });

  test("do not keep a client waiting that hangs up halfway", async () => {
    const socket = openSocket(url);
    socket.write(
      `POST /v2/models/wide/infer HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n` +
        `Content-Length: ${Buffer.byteLength(zeros)}\r\n\r\n${zeros}`,
    );
    await new Promise((resolve) => socket.once("data", resolve));
    socket.destroy();
    expect((await post("wide", zeros)).status).toBe(200);
  });
});

describe("the schedule policy", () => {
  test("reaches the prediction: priority as it is, the time-out in milliseconds", async () => {
    const seen: PredictRequest[] = [];
    const predict = ({ params }: { params: PredictRequest }) => {
      seen.push(params);
      return { model: "m", version: "1", outputs: [], cached: false };
    };
    const config = readConfig({
      MOIETY_DATA_DIR: directory,
      MOIETY_HTTP_PORT: "0",
      MOIETY_GRPC_PORT: "0",
      MOIETY_LOG_LEVEL: "fatal",
    });
    const other = await startNode(config, ["gateway"], [{ name: "inference", actions: { predict } }]);
    try {
      const parameters = { priority: 2, timeout: 1_500_000, colour: "blue" };
      const tensor = { name: "x", datatype: "INT32", shape: [1], data: [1] };
      const response = await fetch(`${gatewayUrl(other)}/v2/models/m/versions/3/infer?unknown=1`, {
        method: "POST",
        body: JSON.stringify({ parameters, inputs: [tensor] }),
      });
      expect(response.status).toBe(200);
      expect(seen).toMatchObject([{ model: "m", version: "3", priority: 2, timeoutMs: 1500 }]);
    } finally {
      await other.stop();
    }
  });
});

test("a body without a Content-Type is read", async () => {
  const body = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]}]}';
  const socket = openSocket(url);
  socket.write(
    `POST /v2/models/wide/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  expect((await readAnswer(socket)).status).toBe(200);
});
