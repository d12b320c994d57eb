/**
 * The infer entry of the Open Inference Protocol against what no proper client sends. Whatever comes, the answer is
 * in the protocol's form and blames the client, it comes, and the next request is answered rightly. Mutations are
 * seeded: a failure names the seed and the body that brought it about.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl } from "../../cli/node.ts";
import { startEchoNode } from "../fixtures/echo-node.ts";
import { settled } from "../fixtures/eventually.ts";
import { mutatedBytes, mutatedValue } from "../fixtures/json-mutation.ts";
import { randomStream } from "../fixtures/onnx-models.ts";

const HEADER = "Inference-Header-Content-Length";
const HANG_MS = 30_000;
const MUTATIONS = 1_500;
const CONNECTIONS = 8;

type Request = { model: string; body: Uint8Array; headerBytes?: string };
type Answer = { status: number; type: string; body: Buffer };

let directory: string;
let broker: ServiceBroker;
let url: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-fuzz-"));
  broker = await startEchoNode(directory);
  url = gatewayUrl(broker);
});

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

async function send({ model, body, headerBytes }: Request, verb = "infer"): Promise<Answer> {
  const exchange = fetch(`${url}/v2/models/${model}/${verb}`, {
    method: "POST",
    body: body as Uint8Array<ArrayBuffer>,
    headers: headerBytes === undefined ? {} : { [HEADER]: headerBytes },
  }).then(async (response) => ({
    status: response.status,
    type: response.headers.get("content-type") ?? "",
    body: Buffer.from(await response.arrayBuffer()),
  }));
  return settled(exchange, HANG_MS);
}

/** The message of a refusal. @throws {Error} when it is no refusal, or not in the protocol's form */
function messageOf({ status, type, body }: Answer): string {
  const text = body.toString();
  const { error } = (type === "application/json" ? JSON.parse(text) : {}) as { error?: unknown };
  if (status < 400 || status >= 500 || typeof error !== "string" || error === "" || text.length > 20_000)
    throw new Error(`answered ${status} ${type}: ${text.slice(0, 500)}`);
  return error;
}

const json = (value: unknown): Buffer =>
  Buffer.from(typeof value === "string" ? value : JSON.stringify(value));

/** JSON and binary data, with the header that tells them apart. */
function binary(model: string, header: unknown, ...data: Uint8Array[]): Request {
  const text = json(header);
  return { model, body: Buffer.concat([text, ...data]), headerBytes: String(text.length) };
}

const tensor = (changes: object = {}) => ({
  name: "x",
  shape: [1, 2],
  datatype: "FP32",
  data: [1, 2],
  ...changes,
});
const sized = (bytes: unknown, changes: object = {}) =>
  tensor({ data: undefined, parameters: { binary_data_size: bytes }, ...changes });
const floats = (...values: number[]) => new Uint8Array(new Float32Array(values).buffer);
const text = (length: number, string: string) => {
  const bytes = Buffer.alloc(4 + Buffer.byteLength(string));
  bytes.writeUInt32LE(length);
  bytes.write(string, 4);
  return bytes;
};
const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

/** Requests that work: everything below is a change of one of them. */
const GOOD: readonly Request[] = [
  { model: "identity-fp32", body: json({ id: "1", inputs: [tensor()], outputs: [{ name: "y" }] }) },
  {
    model: "identity-fp32",
    body: json({
      inputs: [
        tensor({
          shape: [2, 2],
          data: [
            [1, 2],
            [3, 4],
          ],
        }),
      ],
    }),
  },
  binary(
    "identity-fp32",
    { inputs: [sized(8)], outputs: [{ name: "y", parameters: { binary_data: true } }] },
    floats(1, 2),
  ),
  binary(
    "identity-bytes",
    { parameters: { binary_data_output: true }, inputs: [sized(11, { datatype: "BYTES" })] },
    text(2, "ab"),
    text(1, "c"),
  ),
  {
    model: "identity-int64",
    body: json('{"inputs":[{"name":"x","shape":[1,2],"datatype":"INT64","data":[9007199254740993,1]}]}'),
  },
  binary(
    "identity-fp16",
    {
      inputs: [sized(4, { datatype: "FP16" })],
      outputs: [{ name: "y", parameters: { binary_data: true, classification: 0 } }],
    },
    floats(1),
  ),
  { model: "identity-fp32", body: floats(1, 2), headerBytes: "0" },
];

const SHAPES: readonly unknown[] = [
  [-1, 2],
  [1, -2],
  [1.5, 2],
  [2 ** 31, 2 ** 31],
  [2 ** 53, 2],
  [2 ** 40, 2 ** 40, 2 ** 40],
  [1e308, 1e308],
  [1, 3],
  [2],
  [],
  [0, 2],
  [1, 2, 1],
  new Array(33).fill(1),
  new Array(100_000).fill(1),
  ["1", 2],
  [null, 2],
  [[1], 2],
  [true, 2],
  {},
  "[1,2]",
  7,
  null,
  undefined,
];

describe("what must be refused", () => {
  test.each(SHAPES.map((shape) => [(JSON.stringify(shape) ?? "none").slice(0, 40), shape]))(
    "the shape %s, with data as JSON and as bytes",
    async (_, shape) => {
      messageOf(await send({ model: "identity-fp32", body: json({ inputs: [tensor({ shape })] }) }));
      messageOf(await send(binary("identity-fp32", { inputs: [sized(8, { shape })] }, floats(1, 2))));
    },
  );

  test.each([7, 9, 0, -8, 8.5, 2 ** 32 + 8, 2 ** 53, 1e308, "8", null, true, [8], {}])(
    "a binary size of %j for 8 bytes",
    async (size) => {
      messageOf(await send(binary("identity-fp32", { inputs: [sized(size)] }, floats(1, 2))));
    },
  );

  test.each([
    ["a length beyond the end", text(2 ** 32 - 1, "ab"), text(1, "c")],
    ["a length of one too many", text(3, "ab"), text(1, "c")],
    ["lengths that meet in the middle of the next", text(6, "ab"), text(1, "c")],
    ["one element too few", text(7, "abcdefg"), new Uint8Array(0)],
    ["one element too many", text(2, "ab"), Buffer.concat([text(0, ""), text(0, "").subarray(3)])],
    ["no UTF-8", Buffer.from([2, 0, 0, 0, 0xc3, 0x28]), text(1, "c")],
    ["a NUL", text(2, "a\0"), text(1, "c")],
  ])("strings with %s", async (_, first: Uint8Array, second: Uint8Array) => {
    const bytes = first.length + second.length;
    messageOf(
      await send(binary("identity-bytes", { inputs: [sized(bytes, { datatype: "BYTES" })] }, first, second)),
    );
  });

  test("a binary request cut off after any of its bytes", async () => {
    const { model, body, headerBytes } = GOOD[2]!;
    for (let length = 0; length < body.length; length++)
      messageOf(await send({ model, body: body.subarray(0, length), headerBytes: headerBytes! }));
  });

  test("a binary request whose header is any other length", async () => {
    const { model, body, headerBytes } = GOOD[2]!;
    for (let length = 0; length <= body.length + 2; length++)
      if (String(length) !== headerBytes) messageOf(await send({ model, body, headerBytes: String(length) }));
  });

  test.each([
    ["in the data", `{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":${nested(200_000)}}]}`],
    [
      "in the data, one level too deep",
      `{"inputs":[{"name":"x","shape":[1,2],"datatype":"INT64","data":${nested(98)}}]}`,
    ],
    ["in the shape", `{"inputs":[{"name":"x","shape":${nested(200_000)},"datatype":"FP32","data":[1,2]}]}`],
    ["in the parameters", `{"parameters":{"p":${nested(200_000)}},"inputs":[]}`],
    [
      "where nobody looks",
      `{"extra":${nested(200_000)},"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}`,
    ],
    ["and never closed", "[".repeat(1_000_000)],
    ["of objects", '{"a":'.repeat(200_000)],
  ])("nesting %s", async (_, body) => {
    messageOf(await send({ model: "identity-fp32", body: json(body) }));
  });

  test("values that a datatype cannot hold", async () => {
    for (const [datatype, values] of Object.entries({
      FP32: ["1e39", "-1e39", '"1"', "null", "true", "{}", "NaN", "1e999"],
      INT64: ["9223372036854775808", "-9223372036854775809", "1e19", "0.5", "9007199254740993.5", '"1"'],
      UINT64: ["18446744073709551616", "-1"],
      INT8: ["128", "-129", "1.5"],
      BOOL: ["2", '"true"'],
      BYTES: ["1", "null", '"\\ud800"', '"\\u0000"'],
    }))
      for (const value of values) {
        const body = `{"inputs":[{"name":"x","shape":[1,2],"datatype":"${datatype}","data":[${value},${value}]}]}`;
        messageOf(await send({ model: `identity-${datatype.toLowerCase()}`, body: json(body) }));
      }
  });

  test("bodies that are something else", async () => {
    for (const body of [
      "",
      " ",
      "null",
      "7",
      '"x"',
      "[]",
      "{}",
      "{",
      '{"inputs":{}}',
      '{"inputs":[]}',
      '{"inputs":[null]}',
      "\0\0",
      "\ufeff",
      '{"__proto__":{"inputs":[]}}',
    ])
      for (const headerBytes of [undefined, String(Buffer.byteLength(body) || 1)])
        messageOf(
          await send({ model: "identity-fp32", body: json(body), ...(headerBytes ? { headerBytes } : {}) }),
        );
  });

  test("names of megabytes, and hundreds of thousands of inputs and outputs, soon", async () => {
    const many = Array.from({ length: 100_000 }, (_, i) => ({ name: `n${i}` }));
    const long = "x".repeat(4 * 2 ** 20);
    for (const body of [
      { inputs: many.map(({ name }) => tensor({ name })) },
      { inputs: [tensor()], outputs: many },
      { inputs: [tensor()], outputs: new Array(100_000).fill({ name: "y" }) },
      { inputs: [tensor({ name: long })] },
      { inputs: [tensor({ datatype: long })] },
      { inputs: [tensor({ data: long })] },
      { inputs: [tensor()], outputs: [{ name: long }] },
      { inputs: [tensor()], parameters: { [long]: null } },
    ])
      messageOf(await send({ model: "identity-fp32", body: json(body) }));
  });
});

/** Changes one request somewhere, by structure, by bytes, or in its header. */
function mutated({ model, body, headerBytes }: Request, random: () => number): Request {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!;
  const with_ = (changed: Uint8Array, header = headerBytes): Request =>
    header === undefined ? { model, body: changed } : { model, body: changed, headerBytes: header };
  const at = Math.floor(random() * body.length);
  const kind = random();
  if (kind < 0.5) return with_(mutatedBytes(body, random));
  if (kind < 2 / 3)
    return with_(
      body,
      pick(["0", "1", String(at), String(body.length), "-0", "00", "99999999999", "NaN", " "]),
    );
  const split = headerBytes === undefined ? body.length : Number(headerBytes);
  if (split === 0) return with_(body.subarray(0, at));
  const header = Buffer.from(body.subarray(0, split)).toString();
  const changed = json(mutatedValue(JSON.parse(header), random));
  const whole = Buffer.concat([changed, body.subarray(split)]);
  return with_(whole, headerBytes === undefined ? undefined : String(changed.length));
}

test("requests that work are answered before, among and after those that do not", async () => {
  const expected = await Promise.all(GOOD.map((request) => send(request)));
  expect(expected.map(({ status, body }) => [status, status === 200 || body.toString()])).toEqual(
    GOOD.map(() => [200, true]),
  );
  let next = 0;
  const refusals = new Set<string>();
  const run = async (): Promise<void> => {
    for (let seed = next++; seed < MUTATIONS; seed = next++) {
      const good = seed % GOOD.length;
      const request = mutated(GOOD[good]!, randomStream(seed));
      const answer = await send(request);
      try {
        if (answer.status !== 200) refusals.add(messageOf(answer));
      } catch (error) {
        const body = Buffer.from(request.body).toString("latin1").slice(0, 300);
        throw new Error(`seed ${seed}, header ${request.headerBytes}, body ${body}`, { cause: error });
      }
      if (seed % 10 === 0) expect((await send(GOOD[good]!)).body).toEqual(expected[good]!.body);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, run));
  // The mutations do reach many different checks.
  expect(refusals.size).toBeGreaterThan(200);
  for (const [i, request] of GOOD.entries()) expect((await send(request)).body).toEqual(expected[i]!.body);
});

test("what is asked by names is answered or refused, whatever it is", async () => {
  const good: readonly Request[] = [
    { model: "identity-fp32", body: json({ id: "1", x: [1, 2], parameters: { priority: 1 } }) },
    { model: "identity-bytes", body: json({ x: ["a", "b"], other: true, parameters: { cache: false } }) },
    { model: "identity-int64", body: json('{"parameters":{"x":[9007199254740993,-1]}}') },
  ];
  const expected = await Promise.all(good.map((request) => send(request, "generate")));
  const long = "x".repeat(4 * 2 ** 20);
  const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`n${i}`, i]));
  for (const body of [{ x: long }, { x: [long] }, { [long]: null }, { id: [] }, { parameters: [long] }])
    messageOf(await send({ model: "identity-fp32", body: json(body) }, "generate"));
  expect(
    (await send({ model: "identity-fp32", body: json({ ...many, x: [1, 2] }) }, "generate")).status,
  ).toBe(200);
  for (let seed = 0; seed < MUTATIONS / 5; seed++) {
    const [random, of] = [randomStream(seed), seed % good.length];
    const { model, body } = good[of]!;
    const value = () => json(mutatedValue(JSON.parse(Buffer.from(body).toString()), random));
    const changed = seed % 2 === 0 ? mutatedBytes(body, random) : value();
    const verb = seed % 4 < 2 ? "generate" : "generate_stream";
    const answer = await send({ model, body: changed }, verb);
    try {
      if (answer.status !== 200) messageOf(answer);
    } catch (error) {
      throw new Error(`seed ${seed}, ${verb} ${Buffer.from(changed).toString("latin1").slice(0, 300)}`, {
        cause: error,
      });
    }
    if (seed % 10 === 0) expect((await send(good[of]!, "generate")).body).toEqual(expected[of]!.body);
  }
});
