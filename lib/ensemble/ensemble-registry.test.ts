import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errorType } from "../errors.ts";
import type { EnsembleStep } from "../protocol/ensembles.ts";
import { ModelRegistry } from "../registry/model-registry.ts";
import { openStore } from "../store/open-store.ts";
import type { Store } from "../store/store.ts";
import type { TensorSpec } from "../tensor/tensor.ts";
import { EnsembleRegistry, MAX_DEPTH } from "./ensemble-registry.ts";

let directory: string;
let store: Store;
let registry: ModelRegistry;
let ensembles: EnsembleRegistry;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-ensembles-"));
  store = await openStore({ kind: "files", directory });
  registry = new ModelRegistry(store.records, store.artifacts);
  ensembles = new EnsembleRegistry(registry, store.artifacts);
});
afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

const spec = (name: string, size = 3): TensorSpec => ({ name, datatype: "FP32", shape: [-1, size] });
const step = (model: string, changes: Partial<EnsembleStep> = {}): EnsembleStep => ({
  name: "only",
  model,
  inputs: { x: "x" },
  outputs: { y: "y" },
  ...changes,
});
const publish = (model: string, steps: EnsembleStep[]) =>
  ensembles.publish({ model, ensemble: { inputs: [spec("x")], outputs: [spec("y")], steps } });
const publishModel = async (model: string, size = 3) =>
  registry.publish({
    model,
    artifacts: { onnx: await store.artifacts.put(new Uint8Array([size])) },
    signature: { inputs: [spec("x", size)], outputs: [spec("y", size)] },
    labels: [],
  });
const refusal = (promise: Promise<unknown>) =>
  promise.then(
    () => "none",
    (error: Error) => `${errorType(error)} ${error.message}`,
  );

test("are versions like any other, and read as they were written", async () => {
  await publishModel("m");
  const steps = [step("m", { version: "1" })];
  const version = await ensembles.publish({
    model: "e",
    ensemble: { inputs: [spec("x")], outputs: [spec("y")], steps },
    labels: ["a", "b"],
  });
  expect(version).toMatchObject({
    model: "e",
    version: 1,
    format: "ensemble",
    signature: { inputs: [spec("x")], outputs: [spec("y")] },
    labels: ["a", "b"],
  });
  expect(await ensembles.read("e")).toEqual({ inputs: [spec("x")], outputs: [spec("y")], steps });
  expect((await publish("e", steps)).version).toBe(2);
  expect(await refusal(ensembles.read("m"))).toContain("INVALID_INPUT");
  expect(await refusal(ensembles.read("e", "3"))).toContain("MODEL_VERSION_NOT_FOUND");
});

test("may come before their models; those that are known must fit", async () => {
  await publish("early", [step("later")]);
  await publishModel("m");
  await publishModel("m", 4);
  expect(await refusal(publish("e", [step("m")]))).toBe(
    "INVALID_MODEL Invalid model at step 'only': input 'x' of model 'm' is FP32[-1,4], but tensor 'x' is FP32[-1,3]",
  );
  expect(await refusal(publish("e", [step("m", { version: "1" })]))).toBe("none");
  expect(
    await refusal(publish("e", [step("m", { inputs: { image: "x" } } as Partial<EnsembleStep>)])),
  ).toContain("model 'm' has no input 'image', only 'x'");
  expect(await registry.get("e")).toMatchObject({ versions: [1] });
});

test("are refused where they come to themselves, unless to an earlier version", async () => {
  expect(await refusal(publish("e", [step("e")]))).toBe(
    "INVALID_MODEL Invalid model at ensemble 'e': it is a step of itself: e → e",
  );
  await publishModel("m");
  await publish("a", [step("m")]);
  await publish("b", [step("a")]);
  expect(await refusal(publish("a", [step("b")]))).toContain("it is a step of itself: a → b → a");
  expect(await refusal(publish("a", [step("a", { version: "1" })]))).toBe("none");
});

test("are refused where they lie too deep, or are too large", async () => {
  await publishModel("m");
  await publish("e0", [step("m")]);
  for (let i = 1; i < MAX_DEPTH; i++) await publish(`e${i}`, [step(`e${i - 1}`)]);
  expect(await refusal(publish("deep", [step(`e${MAX_DEPTH - 1}`)]))).toContain("ensembles more than 8 deep");
  const values = Array.from({ length: 60_000 }, () => "0123456789");
  const large: EnsembleStep = {
    name: "large",
    operators: [
      { operator: "argMax", inputs: ["x"] },
      { operator: "lookUp", values, outputs: ["y"] },
    ],
  };
  expect(await refusal(publish("large", [large]))).toContain("PAYLOAD_TOO_LARGE");
});
