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
import { allocate, type Datatype, type NumericArray } from "../../lib/tensor/datatype.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { eventually } from "../fixtures/eventually.ts";
import { inferBinary } from "../fixtures/oip-binary.ts";

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

function tensorOf({ name, datatype, shape, data }: Written): Tensor {
  if (datatype === "BYTES") return { name, datatype, shape, data: data as string[] };
  const array = allocate(datatype, data.length) as NumericArray;
  for (const [i, value] of data.entries())
    array[i] =
      array instanceof BigInt64Array || array instanceof BigUint64Array ? BigInt(value) : Number(value);
  return { name, datatype, shape, data: array };
}

/** 64-bit integers as the numbers they are in JSON; those of these cases are small. */
function inJson(tensor: Written): Written {
  return tensor.datatype.endsWith("INT64") ? { ...tensor, data: tensor.data.map(Number) } : tensor;
}

test.each(served)("%s answers as the reference does, in binary", async (model) => {
  const { inputs, outputs } = caseOf(model);
  expect(await inferBinary(url, model, inputs.map(tensorOf))).toEqual(outputs.map(tensorOf));
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
