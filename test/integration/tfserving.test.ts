/**
 * TensorFlow Serving's REST API over real HTTP, in front of the real registry and inference. The model of most tests is
 * that server's own example, y = x / 2 + 3, and the answers to expect are those its documentation prints.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { ElementType, identityModel, lookupModel, onnxModel } from "../fixtures/onnx-models.ts";

const HALF = "saved_model_half_plus_three";

let directory: string;
let broker: ServiceBroker;
let url: string;

/** `y = x / 2 + plus` on FP32 `[batch]`. */
function halfPlus(plus: number): Uint8Array {
  return onnxModel({
    inputs: [{ name: "x", type: ElementType.FLOAT, shape: ["N"] }],
    outputs: [{ name: "y", type: ElementType.FLOAT, shape: ["N"] }],
    constants: [
      { name: "half", shape: [], data: Float32Array.of(0.5) },
      { name: "plus", shape: [], data: Float32Array.of(plus) },
    ],
    nodes: [
      { op: "Mul", inputs: ["x", "half"], outputs: ["halved"] },
      { op: "Add", inputs: ["halved", "plus"], outputs: ["y"] },
    ],
  });
}

/** Strings as they came, under a name that says they are binary. */
function bytesModel(): Uint8Array {
  return onnxModel({
    inputs: [{ name: "text", type: ElementType.STRING, shape: ["N"] }],
    outputs: [{ name: "text_bytes", type: ElementType.STRING, shape: ["N"] }],
    nodes: [{ op: "Identity", inputs: ["text"], outputs: ["text_bytes"] }],
  });
}

async function publish(model: string, bytes: Uint8Array, labels: string[] = []): Promise<void> {
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(bytes);
  await store.close();
  // The registry wants one; inference reads the file's own.
  const signature = {
    inputs: [{ name: "x", datatype: "FP32" as const, shape: [-1] }],
    outputs: [{ name: "y", datatype: "FP32" as const, shape: [-1] }],
  };
  await callOf(broker)("registry.publish", { model, artifacts: { onnx }, signature, labels });
}

type Answer = { status: number; headers: Headers; text: string };

async function ask(
  method: string,
  path: string,
  body?: string,
  headers?: Record<string, string>,
): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    ...(body === undefined ? {} : { body }),
    ...(headers ? { headers } : {}),
  });
  return { status: response.status, headers: response.headers, text: await response.text() };
}
const get = (path: string) => ask("GET", path);
const post = (path: string, body: string) => ask("POST", path, body);
const json = ({ text }: Answer) => JSON.parse(text) as Record<string, unknown>;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-tfserving-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  url = gatewayUrl(broker);
  await publish(HALF, halfPlus(3));
  await publish(HALF, halfPlus(2));
  await callOf(broker)("registry.setAlias", { model: HALF, alias: "production", version: 1 });
  await callOf(broker)("registry.setAlias", { model: HALF, alias: "canary", version: 2 });
  await publish("classes", identityModel(ElementType.FLOAT), ["no", "yes"]);
  await publish("lookup", lookupModel());
  await publish("bytes", bytesModel());
  for (const model of [HALF, "classes", "lookup", "bytes"])
    await eventually(async () => {
      const states = await callOf(broker)("inference.states", { model });
      return states.every(({ state }) => state === "ready") || undefined;
    });
}, 60_000);

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

describe("predict", () => {
  test("answers the documented example, in rows and in columns", async () => {
    const rows = await post(`/v1/models/${HALF}:predict`, '{"instances": [1.0,2.0,5.0]}');
    expect(rows).toMatchObject({ status: 200, text: '{"predictions":[3.5,4.0,5.5]}' });
    expect(rows.headers.get("content-type")).toBe("application/json");
    const columns = '{"signature_name": "serving_default", "inputs": [1.0,2.0,5.0]}';
    expect((await post(`/v1/models/${HALF}:predict`, columns)).text).toBe('{"outputs":[3.5,4.0,5.5]}');
  });

  test("answers from a version, and from a label", async () => {
    const body = '{"instances": [1]}';
    for (const [path, answer] of [
      ["", "3.5"],
      ["/versions/2", "2.5"],
      ["/labels/canary", "2.5"],
      ["/labels/production", "3.5"],
    ])
      expect(await post(`/v1/models/${HALF}${path}:predict`, body)).toMatchObject({
        status: 200,
        text: `{"predictions":[${answer}]}`,
      });
  });

  test("takes paths in either case, with a query string and with escapes", async () => {
    for (const path of [
      `/V1/Models/${HALF}:Predict`,
      `/v1/models/${HALF}:predict?x=1`,
      "/v1/models/%62ytes:predict",
    ])
      expect((await post(path, '{"instances": []}')).text).toContain("instances");
  });

  test("takes bodies packed and without a content type, and keeps them from the cache when told", async () => {
    const body = gzipSync('{"instances": [1.0]}') as Uint8Array<ArrayBuffer>;
    const response = await fetch(`${url}/v1/models/${HALF}:predict`, {
      method: "POST",
      body,
      headers: { "Content-Encoding": "gzip", "Moiety-Cache": "off" },
    });
    expect(await response.text()).toBe('{"predictions":[3.5]}');
  });

  test("lets NaN and Infinity in and out", async () => {
    const answer = await post(`/v1/models/${HALF}:predict`, '{"instances": [NaN, Infinity, -Infinity, 1]}');
    expect(answer.text).toBe('{"predictions":[NaN,Infinity,-Infinity,3.5]}');
  });

  test("names the tensors of models with several, and keeps integers exact", async () => {
    const rows = '{"instances": [{"index": 7, "x": [0.5, 1]}, {"index": 2, "x": [3, NaN]}]}';
    expect((await post("/v1/models/lookup:predict", rows)).text).toBe(
      '{"predictions":[{"row":[7.0,-7.0],"echo":[0.5,1.0]},{"row":[2.0,-2.0],"echo":[3.0,NaN]}]}',
    );
    const columns = '{"inputs": {"index": [7], "x": [[0.5, 1]]}}';
    expect((await post("/v1/models/lookup:predict", columns)).text).toBe(
      '{"outputs":{"row":[[7.0,-7.0]],"echo":[[0.5,1.0]]}}',
    );
    const beyond = '{"inputs": {"index": [9007199254740993], "x": [[0, 0]]}}';
    expect((await post("/v1/models/lookup:predict", beyond)).text).toContain("9007199254740993");
  });

  test("carries strings as base64 where names say so", async () => {
    const body = '{"instances": ["caf\\u00e9", {"b64": "aGVsbG8="}]}';
    expect((await post("/v1/models/bytes:predict", body)).text).toBe(
      '{"predictions":[{"b64":"Y2Fmw6k="},{"b64":"aGVsbG8="}]}',
    );
  });

  test.each([
    ["an unknown model", "/v1/models/half:predict", '{"instances": [1]}', 404, "half"],
    ["an unknown version", `/v1/models/${HALF}/versions/99:predict`, '{"instances": [1]}', 404, "99"],
    ["an unknown label", `/v1/models/${HALF}/labels/nosuch:predict`, '{"instances": [1]}', 404, "nosuch"],
    [
      "a version in words",
      `/v1/models/${HALF}/versions/canary:predict`,
      '{"instances": [1]}',
      400,
      "/labels/",
    ],
    [
      "a version beyond 64 bits",
      `/v1/models/${HALF}/versions/18446744073709551615:predict`,
      "{}",
      400,
      "version",
    ],
    ["a label in digits", `/v1/models/${HALF}/labels/1:predict`, '{"instances": [1]}', 400, "/versions/"],
    ["no body", `/v1/models/${HALF}:predict`, "", 400, "empty"],
    ["no JSON", `/v1/models/${HALF}:predict`, "instances = [1, 2]", 400, "position 0"],
    ["another type", `/v1/models/${HALF}:predict`, '{"instances": ["x", "y"]}', 400, "instances[0]"],
    ["another shape", `/v1/models/${HALF}:predict`, '{"instances": [[1]]}', 400, "[1,1]"],
    ["an unknown signature", `/v1/models/${HALF}:predict`, '{"signature_name": "x"}', 400, "signature_name"],
    ["deep nesting", `/v1/models/${HALF}:predict`, `{"instances": ${"[".repeat(1e5)}`, 400, "nested deeper"],
  ])("refuses %s", async (_, path, body, status, message) => {
    const answer = await post(path, body);
    expect(answer.status).toBe(status);
    expect(json(answer).error).toEqual(expect.stringContaining(message));
  });

  test("is POST, and nothing else is a verb", async () => {
    const wrong = await get(`/v1/models/${HALF}:predict`);
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get("allow")).toBe("POST");
    expect((await post("/v1/foo", "{}")).status).toBe(404);
    expect((await post(`/v1/models/${HALF}:explain`, "{}")).status).toBe(405);
    expect((await post(`/v1/models/${HALF}/metadata`, "{}")).status).toBe(405);
    expect((await post(`/v1/models/${HALF}/versions/1/labels/canary:regress`, "{}")).status).toBe(404);
  });
});

describe("classify and regress", () => {
  test("answer the documented examples", async () => {
    const body = '{"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}';
    expect((await post(`/v1/models/${HALF}:regress`, body)).text).toBe('{"results":[3.5,4.0]}');
    const two = '{"examples": [{"x": 80}]}';
    for (const path of ["/versions/2", "/labels/canary"])
      expect((await post(`/v1/models/${HALF}${path}:regress`, two)).text).toBe('{"results":[42.0]}');
  });

  test("answer labels with scores", async () => {
    const body = '{"context": {"unused": 1}, "examples": [{"x": [0.25, 0.75]}, {"x": [1, 0]}]}';
    for (const path of ["", "/versions/1"])
      expect((await post(`/v1/models/classes${path}:classify`, body)).text).toBe(
        '{"results":[[["no",0.25],["yes",0.75]],[["no",1.0],["yes",0.0]]]}',
      );
  });

  test.each([
    [
      "a classifier that should regress",
      "/v1/models/classes:regress",
      '{"examples": [{"x": [1, 2]}]}',
      "class names",
    ],
    [
      "a regressor that should classify",
      `/v1/models/${HALF}:classify`,
      '{"examples": [{"x": 1}]}',
      "class names",
    ],
    ["a model that does neither", "/v1/models/lookup:classify", '{"examples": [{"x": 1}]}', "row FP32[-1,2]"],
    ["instances for examples", `/v1/models/${HALF}:regress`, '{"instances": [1]}', "examples"],
    ["a missing feature", `/v1/models/${HALF}:regress`, '{"examples": [{"z": 1}]}', "examples[0].x"],
  ])("refuse %s", async (_, path, body, message) => {
    const answer = await post(path, body);
    expect(answer.status).toBe(400);
    expect(json(answer).error).toEqual(expect.stringContaining(message));
  });
});

const available = (version: string) => ({
  version,
  state: "AVAILABLE",
  status: { error_code: "OK", error_message: "" },
});

describe("status and metadata", () => {
  test("tell of all versions, of one, and of a label's", async () => {
    const about = { name: HALF, ready: true };
    expect(json(await get(`/v1/models/${HALF}`))).toEqual({
      ...about,
      model_version_status: [available("2"), available("1")],
    });
    for (const path of ["/versions/1", "/labels/production"])
      expect(json(await get(`/v1/models/${HALF}${path}`))).toEqual({
        ...about,
        model_version_status: [available("1")],
      });
    expect((await get(`/v1/models/${HALF}/versions/99`)).status).toBe(404);
    expect((await get(`/v1/models/${HALF}/labels/nosuch`)).status).toBe(404);
    expect((await get("/v1/models/nosuch")).status).toBe(404);
  });

  test("tell why a version is not available", async () => {
    await publish("broken", Uint8Array.of(1, 2, 3));
    const answer = await eventually(async () => {
      const found = await get("/v1/models/broken");
      return found.status === 200 && found.text.includes('"END"') ? json(found) : undefined;
    });
    expect(answer).toMatchObject({
      name: "broken",
      ready: false,
      model_version_status: [{ version: "1", state: "END", status: { error_code: "UNKNOWN" } }],
    });
    const predict = await post("/v1/models/broken:predict", '{"instances": [1]}');
    expect(predict.status).toBe(503);
  });

  test("list the models as KServe does", async () => {
    const { models } = json(await get("/v1/models"));
    expect(models).toEqual(expect.arrayContaining([HALF, "bytes", "classes", "lookup"]));
  });

  test("describe the signatures of a version", async () => {
    for (const [path, version] of [
      ["", "1"],
      ["/versions/2", "2"],
      ["/labels/canary", "2"],
    ])
      expect(json(await get(`/v1/models/${HALF}${path}/metadata`))).toMatchObject({
        model_spec: { name: HALF, signature_name: "", version },
        metadata: {
          signature_def: {
            signature_def: {
              serving_default: { inputs: { x: { dtype: "DT_FLOAT", name: "x:0" } } },
              "tensorflow/serving/regress": { method_name: "tensorflow/serving/regress" },
            },
          },
        },
      });
    expect((await get("/v1/models/nosuch/metadata")).status).toBe(404);
  });
});
