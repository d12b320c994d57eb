/**
 * Models of every kind out of a model repository, over the Open Inference Protocol: answers are those of the onnx
 * package's reference, to the bit; what cannot be served is named with the way out.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ServiceBroker } from "moleculer";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { encodeRaw } from "../../lib/oip/raw-tensor.ts";
import { allocate, type Datatype, type TensorData } from "../../lib/tensor/datatype.ts";
import { eventually } from "../fixtures/eventually.ts";

type Written = { name: string; datatype: Datatype; shape: number[]; data: (string | number | boolean)[] };
type Case = { inputs: Written[]; outputs: Written[] };
type Entry = { name: string; version: string; state: string; reason: string };

const FOLDER = fileURLToPath(new URL("../fixtures/onnx-kinds", import.meta.url));
const MODELS = readdirSync(FOLDER, { withFileTypes: true }).filter((entry) => entry.isDirectory());
const isServed = (model: string) => existsSync(join(FOLDER, model, "case.json"));
const [served, refused] = [true, false].map((is) =>
  MODELS.map(({ name }) => name).filter((name) => isServed(name) === is),
) as [string[], string[]];
const caseOf = (model: string): Case => JSON.parse(readFileSync(join(FOLDER, model, "case.json"), "utf8"));

let directory: string;
let broker: ServiceBroker;
let url: string;

async function index(): Promise<Map<string, Entry>> {
  const response = await fetch(`${url}/v2/repository/index`, { method: "POST" });
  return new Map(((await response.json()) as Entry[]).map((entry) => [entry.name, entry]));
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-kinds-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_MODEL_REPOSITORY: FOLDER,
    MOIETY_MODEL_REPOSITORY_POLL_SECONDS: "0",
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  url = gatewayUrl(broker);
  await eventually(async () => {
    const entries = await index();
    return (
      MODELS.every(({ name }) => ["READY", "UNAVAILABLE"].includes(entries.get(name)?.state ?? "")) ||
      undefined
    );
  });
});

afterAll(async () => {
  await broker?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** The elements as raw bytes of the protocol's binary extension. */
function bytesOf({ datatype, data }: Written): Uint8Array {
  let values: TensorData = data as string[];
  if (datatype !== "BYTES") {
    const array = allocate(datatype, data.length) as Exclude<TensorData, string[]>;
    for (const [i, value] of data.entries())
      array[i] =
        array instanceof BigInt64Array || array instanceof BigUint64Array ? BigInt(value) : Number(value);
    values = array;
  }
  return encodeRaw({ data: values });
}

/** 64-bit integers as the numbers they are in JSON; those of these cases are small. */
function inJson(tensor: Written): Written {
  return tensor.datatype.endsWith("INT64") ? { ...tensor, data: tensor.data.map(Number) } : tensor;
}

test.each(served)("%s answers as the reference does, in binary", async (model) => {
  const { inputs, outputs } = caseOf(model);
  const tails = inputs.map(bytesOf);
  const header = JSON.stringify({
    parameters: { binary_data_output: true },
    inputs: inputs.map(({ name, datatype, shape }, i) => ({
      name,
      datatype,
      shape,
      parameters: { binary_data_size: tails[i]!.byteLength },
    })),
  });
  const response = await fetch(`${url}/v2/models/${model}/infer`, {
    method: "POST",
    headers: { "inference-header-content-length": String(Buffer.byteLength(header)) },
    body: Buffer.concat([Buffer.from(header), ...tails]),
  });
  const body = Buffer.from(await response.arrayBuffer());
  expect({ status: response.status, text: response.ok ? "" : body.toString() }).toEqual({
    status: 200,
    text: "",
  });
  const length = Number(response.headers.get("inference-header-content-length"));
  const answer = JSON.parse(body.subarray(0, length).toString()) as { outputs: Written[] };
  expect(answer.outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape }))).toEqual(
    outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
  );
  expect(body.subarray(length)).toEqual(Buffer.concat(outputs.map(bytesOf)));
});

test.each(served.filter((model) => !JSON.stringify(caseOf(model)).includes("FP16")))(
  "%s answers as the reference does, in JSON",
  async (model) => {
    const { inputs, outputs } = caseOf(model);
    const response = await fetch(`${url}/v2/models/${model}/infer`, {
      method: "POST",
      body: JSON.stringify({ inputs: inputs.map(inJson) }),
    });
    const answer = (await response.json()) as { outputs: Written[] };
    expect(answer.outputs).toEqual(outputs.map(inJson));
  },
);

test("metadata says what tensors there are, scalars and free sizes included", async () => {
  const read = async (model: string) => (await fetch(`${url}/v2/models/${model}`)).json();
  expect(await read("scalar-input")).toMatchObject({
    inputs: [
      { name: "x", datatype: "FP32", shape: [-1, 4] },
      { name: "factor", datatype: "FP32", shape: [] },
    ],
  });
  expect(await read("dynamic")).toMatchObject({ outputs: [{ shape: [2, -1] }, { shape: [-1, -1] }] });
  expect((await read("default-input")) as { inputs: object[] }).toMatchObject({ inputs: [{ name: "x" }] });
});

const REASONS: Record<string, string[]> = {
  sequence: ['output "parts"', "sequence(tensor(float))", "ConcatFromSequence"],
  zipmap: ['output "scores"', "sequence(map(int64, tensor(float)))", "'zipmap': False"],
  optional: ['input "x"', "optional(tensor(float))"],
  bfloat16: ['input "x"', "BFLOAT16", "cast to FLOAT"],
  "no-rank": ['input "x"', "rank"],
  "unknown-operator": ["Frobnicate"],
};

test("every model that cannot be served has its reason here", () => {
  expect(refused.sort()).toEqual(Object.keys(REASONS).sort());
});

test.each(Object.keys(REASONS))("%s is refused with the reason and the way out", async (model) => {
  const entry = (await index()).get(model)!;
  expect(entry.state).toBe("UNAVAILABLE");
  for (const part of REASONS[model]!) expect(entry.reason).toContain(part);
  expect((await fetch(`${url}/v2/models/${model}`)).status).toBe(404);
});
