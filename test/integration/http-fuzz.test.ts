/**
 * Every HTTP entry that takes a body, besides infer (oip-fuzz.test.ts), and every path with a name in it, against what no
 * proper client sends. Whatever comes, the answer comes, is JSON with an error's message, and blames the client; and the
 * next request is answered rightly. Mutations are seeded: a failure names the seed and the body that brought it about.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl } from "../../cli/node.ts";
import cnn from "../../examples/mnist/cnn.json" with { type: "json" };
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { startEchoNode } from "../fixtures/echo-node.ts";
import { eventually, settled } from "../fixtures/eventually.ts";
import { mutatedBytes, mutatedValue } from "../fixtures/json-mutation.ts";
import { convolutionalModel, randomStream } from "../fixtures/onnx-models.ts";

const HANG_MS = 60_000;

let directory: string;
let broker: ServiceBroker;
let url: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-http-fuzz-"));
  broker = await startEchoNode(directory, { MOIETY_GRPC_PORT: "off" }, ["trainer"]);
  url = gatewayUrl(broker);
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(convolutionalModel());
  await store.close();
  await callOf(broker)("registry.publish", {
    model: "digits",
    artifacts: { onnx },
    signature: {
      inputs: [{ name: "image", datatype: "FP32", shape: [-1, 28, 28, 1] }],
      outputs: [{ name: "probabilities", datatype: "FP32", shape: [-1, 10] }],
    },
    labels: [],
  });
  await eventually(
    async () => (await callOf(broker)("inference.ready", { model: "digits" })).ready || undefined,
  );
});

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** Nothing of what was sent has harmed those that come after. */
afterEach(async () => {
  const body = JSON.stringify({ inputs: [{ name: "x", datatype: "FP32", shape: [1, 2], data: [1, 2] }] });
  const { status, text } = await send("POST", "/v2/models/identity-fp32/infer", body);
  expect([status, text]).toEqual([200, expect.stringContaining('"data":[1,2]')]);
});

type Answer = { status: number; type: string; text: string };

async function send(
  method: string,
  path: string,
  body?: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const exchange = fetch(url + path, {
    method,
    headers,
    ...(body !== undefined && { body: body as string | Uint8Array<ArrayBuffer> }),
  }).then(async (response) => ({
    status: response.status,
    type: response.headers.get("content-type") ?? "",
    text: await response.text(),
  }));
  return settled(exchange, HANG_MS);
}

/** @throws {Error} when it is neither an answer nor a refusal that blames the client */
function assertAnswered({ status, type, text }: Answer): void {
  if (status < 300) return;
  const { error } = (type.startsWith("application/json") ? JSON.parse(text) : {}) as { error?: unknown };
  if (status < 400 || status >= 500 || typeof error !== "string" || error === "" || text.length > 20_000)
    throw new Error(`answered ${status} ${type}: ${text.slice(0, 500)}`);
}

const TENSOR = (name: string) => ({ name, datatype: "FP32", shape: [-1] });
const IMAGE = Array.from({ length: 28 }, () => new Array(28).fill(0));

/** Method, path and a body that works, or would if what it names were there. */
const ENTRIES: readonly [method: "POST" | "PUT", path: string, good: object, mutations: number][] = [
  ["POST", "/v2/repository/index", { ready: true }, 100],
  ["POST", "/v2/repository/models/nosuch/load", { parameters: { unload_dependents: false } }, 100],
  ["POST", "/v2/repository/models/nosuch/unload", { parameters: { unload_dependents: false } }, 100],
  ["PUT", "/api/models/identity-int16/aliases/a", { version: 1 }, 100],
  [
    "PUT",
    "/api/models/identity-int16/configuration",
    {
      batching: { maxRows: 4, queueDelayMs: 0.5 },
      queue: { maxRequests: 7, timeoutMs: 20, priorityLevels: 3, defaultPriority: 1, whenFull: "delay" },
      instances: { workers: 1, intraOpThreads: 1 },
      provider: "cpu",
      warmup: [{ rows: 2, count: 3, inputs: { x: { shape: [2, 2], values: "random" } } }],
      labels: ["a", "b"],
      versions: { latest: 3 },
      cache: { enabled: false, ttlSeconds: 3, maxBytes: 1000 },
    },
    300,
  ],
  [
    "PUT",
    "/api/models/identity-int16/rollout",
    {
      canary: { version: 1, weight: 0.5, bounds: { errorRate: 0, latencyRatio: 1, minRequests: 1 } },
      shadow: { version: 1, share: 0.1, tolerance: 0 },
    },
    200,
  ],
  [
    "POST",
    "/api/models/chain/versions",
    {
      ensemble: {
        inputs: [TENSOR("x")],
        outputs: [TENSOR("y")],
        steps: [
          { name: "one", operators: [{ operator: "scale", scale: 2, inputs: ["x"], outputs: ["z"] }] },
          { name: "two", model: "nosuch", version: "production", inputs: { x: "z" }, outputs: { y: "y" } },
        ],
      },
      labels: ["a"],
    },
    300,
  ],
  [
    "POST",
    "/api/jobs",
    {
      model: "mine",
      architecture: cnn,
      data: { dataset: "nosuch", trainLimit: 10, validationSplit: 0.1 },
      loss: "sparse_categorical_crossentropy",
      optimizer: { class_name: "Adam", config: { learning_rate: 0.001 } },
      epochs: 1,
      batchSize: 8,
      seed: 1,
    },
    300,
  ],
  [
    "POST",
    "/v1/models/wide:predict",
    {
      signature_name: "serving_default",
      instances: [
        [1, 2],
        [3, 4],
      ],
    },
    200,
  ],
  ["POST", "/v1/models/wide/versions/1:predict", { inputs: { x: [[1, 2]] } }, 200],
  ["POST", "/v1/models/identity-bytes:predict", { instances: [[{ b64: "YQ==" }, { b64: "Yg==" }]] }, 200],
  ["POST", "/v1/models/identity-fp32:classify", { examples: [{ x: [1, 2] }], context: { x: [1, 2] } }, 200],
  ["POST", "/v1/models/identity-fp32:regress", { examples: [{ x: [1, 2] }, { x: [3, 4] }] }, 200],
  [
    "POST",
    "/v2/models/identity-bytes/generate",
    { id: "1", text_input: "a", parameters: { cache: false, priority: 1 } },
    100,
  ],
  [
    "POST",
    "/v2/models/identity-bytes/generate_stream",
    { id: "1", text_input: "a", parameters: { cache: false, priority: 1 } },
    100,
  ],
  ["POST", "/predict", { model: "digits", image: IMAGE, scale: 255, cache: true }, 200],
];

/** Of infer, which has a suite of its own, and of what takes no body. */
const ELSEWHERE = /\/infer$|\/cancel$/;

test("no entry that takes a body is left out", async () => {
  const { routes } = JSON.parse((await send("GET", "/")).text) as { routes: string[] };
  const templates = routes
    .filter((route) => /^(POST|PUT) /.test(route) && !ELSEWHERE.test(route))
    // The same entry for one version.
    .map((route) => route.replace(/\/(versions|labels)\/\{\w+\}(?=:|\/generate)/, ""));
  expect(templates.length).toBeGreaterThan(10);
  const fuzzed = ENTRIES.map(([method, path]) => `${method} ${path}`);
  for (const template of templates) {
    const pattern = new RegExp(`^${template.replaceAll(/\{\w+\}/g, "[^/:]+")}$`);
    expect([template, fuzzed.some((entry) => pattern.test(entry))]).toEqual([template, true]);
  }
});

describe("bodies that are nearly right, to", () => {
  test.each(ENTRIES)("%s %s", async (method, path, good, mutations) => {
    const text = Buffer.from(JSON.stringify(good));
    let [next, refused] = [0, 0];
    const sender = async (): Promise<void> => {
      for (let seed = next++; seed < mutations; seed = next++) {
        const random = randomStream(seed);
        const body =
          random() < 0.3
            ? mutatedBytes(text, random)
            : Buffer.from(JSON.stringify(mutatedValue(good, random)));
        const answer = await send(method, path, body);
        if (answer.status >= 400) refused++;
        try {
          assertAnswered(answer);
        } catch (error) {
          throw new Error(`seed ${seed}: ${Buffer.from(body).toString("latin1").slice(0, 500)}`, {
            cause: error,
          });
        }
      }
    };
    await Promise.all(Array.from({ length: 4 }, sender));
    expect(refused).toBeGreaterThan(mutations / 10);
  });
});

const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

describe("bodies that are something else", () => {
  test.each(ENTRIES)("to %s %s", async (method, path) => {
    for (const body of [
      " ",
      "null",
      "7",
      '"x"',
      "[]",
      "[null]",
      "{",
      '{"__proto__":{"version":1}}',
      '{"constructor":{"prototype":1}}',
      "\0\0",
      "\ufeff",
      nested(200_000),
      `{"a":${nested(200_000)}}`,
      '{"a":'.repeat(200_000),
      `{"${"x".repeat(2 ** 20)}":1}`,
      `{${Array.from({ length: 20_000 }, (_, i) => `"k${i}":0`).join()}}`,
      Buffer.from([0x7b, 0xff, 0xfe, 0x7d]),
    ])
      assertAnswered(await send(method, path, body));
  });

  test.each(ENTRIES)("to %s %s: packed wrongly, or too large", async (method, path, good) => {
    const packed = gzipSync(JSON.stringify(good));
    for (const [encoding, body] of [
      ["gzip", Buffer.from("{}")],
      ["gzip", packed.subarray(0, packed.length - 9)],
      ["deflate", packed],
      ["gzip", gzipSync(Buffer.alloc(17 * 2 ** 20, 0x20))],
      ["br", packed],
      ["gzip, gzip", packed],
    ] as const) {
      const answer = await send(method, path, body, { "Content-Encoding": encoding });
      assertAnswered(answer);
      expect(answer.status).toBeGreaterThanOrEqual(400);
    }
  });
});

const NAMES = [
  "%00",
  "%2e%2e",
  "..%2f..%2fetc%2fpasswd",
  "%ff",
  "%zz",
  "%",
  "%F0%9F%99%82",
  "%ED%A0%80",
  "__proto__",
  "constructor",
  "a%0d%0aSet-Cookie:x",
  "-1",
  "1e9",
  "99999999999999999999",
  "x".repeat(5000),
  "%20",
  "*",
  "$SYS.REQ",
];

describe("names that nobody has, in", () => {
  test.each([
    "/v2/models/NAME",
    "/v2/models/NAME/ready",
    "/v2/models/NAME/config",
    "/v2/models/NAME/stats",
    "/v2/models/NAME/versions/1",
    "/v2/models/wide/versions/NAME",
    "/v2/models/wide/versions/NAME/ready",
    "/v2/models/wide/versions/NAME/config",
    "/v2/models/wide/versions/NAME/stats",
    "/v1/models/NAME",
    "/v1/models/NAME/metadata",
    "/v1/models/wide/versions/NAME",
    "/v1/models/wide/versions/NAME/metadata",
    "/v1/models/wide/labels/NAME",
    "/v1/models/wide/labels/NAME/metadata",
    "/api/models/NAME",
    "/api/models/NAME/rollout",
    "/api/models/NAME/versions/1",
    "/api/models/wide/versions/NAME",
    "/api/models/wide/versions/NAME/ensemble",
    "/api/jobs/NAME",
    "/api/jobs/NAME/events",
    "/api/jobs?state=NAME",
    "/api/jobs?limit=NAME",
    "/NAME",
  ])("%s", async (path) => {
    for (const name of NAMES) {
      const answer = await send("GET", path.replace("NAME", name));
      // Bodies of some routes are empty or text.
      if (answer.status >= 300) assertAnswered(answer);
    }
  });

  test.each<[string, string, object]>([
    ["POST", "/v2/models/NAME/infer", {}],
    ["POST", "/v2/models/wide/versions/NAME/infer", {}],
    ["POST", "/v2/repository/models/NAME/load", {}],
    ["POST", "/v2/repository/models/NAME/unload", {}],
    ["POST", "/v1/models/NAME:predict", { instances: [1] }],
    ["POST", "/v1/models/wide/labels/NAME:predict", { instances: [[1]] }],
    ["POST", "/api/jobs/NAME/cancel", {}],
    ["DELETE", "/api/jobs/NAME", {}],
    ["PUT", "/api/models/NAME/aliases/a", { version: 1 }],
    ["PUT", "/api/models/NAME/configuration", {}],
    ["PUT", "/api/models/NAME/rollout", {}],
    ["DELETE", "/api/models/NAME/rollout", {}],
  ])("%s %s", async (method, path, body) => {
    for (const name of NAMES)
      assertAnswered(await send(method, path.replace("NAME", name), JSON.stringify(body)));
  });
});

/** What comes back until the server closes the connection. */
const raw = (text: string) =>
  settled(
    new Promise<string>((resolve) => {
      const { hostname, port } = new URL(url);
      const socket = connect(Number(port), hostname, () => socket.end(text, "latin1"));
      let answer = "";
      socket.setEncoding("latin1").on("data", (part) => {
        answer += part;
      });
      socket.on("error", () => {}).once("close", () => resolve(answer));
    }),
    HANG_MS,
  );

describe("heads that lie or make no sense", () => {
  const post = (headers: string, body = "") => `POST /api/jobs HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`;

  test.each([
    ["a length that is none", post("Content-Length: x\r\n", "{}")],
    ["a negative length", post("Content-Length: -1\r\n", "{}")],
    ["two lengths", post("Content-Length: 2\r\nContent-Length: 3\r\n", "{}")],
    ["a length and chunks", post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")],
    ["a chunk that is none", post("Transfer-Encoding: chunked\r\n", "zz\r\n{}\r\n0\r\n\r\n")],
    ["a chunk of 4 GiB", post("Transfer-Encoding: chunked\r\n", "ffffffff\r\n{}")],
    ["a length of ages", post("Content-Length: 99999999999999\r\n", "{}")],
    ["a body shorter than it says", post("Content-Length: 100\r\n", "{}")],
    ["no host", "POST /api/jobs HTTP/1.1\r\n\r\n"],
    ["headers of megabytes", post(`X-Large: ${"x".repeat(2 ** 21)}\r\n`)],
    ["a method nobody knows", "BREW /api/jobs HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["another protocol", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ["the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    [
      "an absolute path of elsewhere",
      "GET http://elsewhere/v2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
    ["nothing but an asterisk", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"],
    ["an expectation nobody can meet", post("Expect: 7\r\nContent-Length: 2\r\nConnection: close\r\n", "{}")],
  ])("%s", async (_, text) => {
    const status = /^HTTP\/1\.1 (\d)/.exec(await raw(text))?.[1];
    // Where nobody waits for an answer any more there may be none.
    expect(["2", "4", undefined]).toContain(status);
  });
});
