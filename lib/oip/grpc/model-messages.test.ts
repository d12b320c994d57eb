/** Configuration, statistics and the index as messages, read by protobufjs, which goes by the .proto file. */

import { fileURLToPath } from "node:url";
import { loadSync } from "@grpc/proto-loader";
import type { ModelMetadata } from "../../protocol/inference.ts";
import type { ModelConfiguration } from "../../protocol/model-configuration.ts";
import { DATATYPES } from "../../tensor/datatype.ts";
import { modelConfig } from "../model-config.ts";
import { printMessage } from "./message-writer.ts";
import { printModelConfig } from "./model-config.ts";
import { printIndex, readChangeMessage, readIndexMessage } from "./repository.ts";
import { printStatistics } from "./statistics.ts";

type Method = { requestSerialize(value: object): Buffer; responseDeserialize(bytes: Buffer): object };

const PROTO = fileURLToPath(new URL("./inference.proto", import.meta.url));
const methods = loadSync(PROTO, { keepCase: true, longs: Number, enums: String, defaults: true })[
  "inference.GRPCInferenceService"
] as unknown as Record<
  "ModelConfig" | "ModelStatistics" | "RepositoryIndex" | "RepositoryModelLoad" | "RepositoryModelUnload",
  Method
>;

const METADATA: ModelMetadata = {
  model: "möbius",
  versions: ["1"],
  version: "1",
  platform: "onnxruntime_onnx",
  inputs: DATATYPES.map((datatype) => ({ name: datatype, datatype, shape: [-1, 2, -1] })),
  outputs: [{ name: "y", datatype: "FP32", shape: [-1, 1000] }],
  labels: [],
};
const DEFAULTS = { workers: 2, maxBatchRows: 32, queueDelayMs: 1, maxQueue: 1024, timeoutMs: 5000 };

test.each<[string, ModelConfiguration]>([
  ["none", {}],
  ["all versions", { versions: "all" }],
  ["some versions", { versions: { numbers: [1, Number.MAX_SAFE_INTEGER] } }],
  [
    "everything",
    {
      batching: { maxRows: 4, queueDelayMs: 0.5 },
      queue: { maxRequests: 7, timeoutMs: 20, priorityLevels: 3, defaultPriority: 1, whenFull: "delay" },
      instances: { workers: 2, intraOpThreads: 3 },
      provider: "cuda",
      warmup: [{ rows: 2, count: 3, inputs: { x: { shape: [2, 2], values: "random" } } }],
      labels: ["a", "b"],
      versions: { latest: 3 },
      cache: { enabled: false, ttlSeconds: 3, maxBytes: 1000 },
    },
  ],
])("the configuration of a model, with %s set, says what its JSON says", (_, configuration) => {
  const config = modelConfig(METADATA, configuration, DEFAULTS);
  expect(methods.ModelConfig.responseDeserialize(printModelConfig(config))).toMatchObject({ config });
});

test("shapes of a model that does not batch are whole", () => {
  const metadata = { ...METADATA, inputs: [{ name: "x", datatype: "FP32" as const, shape: [2, 3] }] };
  const config = modelConfig(metadata, {}, DEFAULTS);
  expect(methods.ModelConfig.responseDeserialize(printModelConfig(config))).toMatchObject({
    config: { max_batch_size: 0, input: [{ dims: [2, 3] }] },
  });
});

test("the configuration of an ensemble has its steps", () => {
  const steps = [
    { name: "scaled", inputs: { x: "x" }, outputs: { y: "z" } },
    { name: "scored", model: "m", version: "12", inputs: { a: "z", b: "x" }, outputs: { p: "y" } },
    { name: "last", model: "n", version: "production", inputs: { a: "y" }, outputs: { p: "q" } },
  ];
  const config = modelConfig({ ...METADATA, steps }, {}, DEFAULTS);
  const { config: read } = methods.ModelConfig.responseDeserialize(printModelConfig(config)) as {
    config: object;
  };
  expect(read).toMatchObject(config);
  expect(read).toMatchObject({
    ensemble_scheduling: {
      step: [{ model_version: -1 }, { model_version: 12, input_map: { a: "z", b: "x" } }, {}],
    },
  });
});

test("statistics say what their JSON says", () => {
  const [duration, more] = [
    { count: 3, ns: Number.MAX_SAFE_INTEGER },
    { count: 0, ns: 0 },
  ];
  const computing = { compute_input: duration, compute_infer: duration, compute_output: more };
  const model = {
    name: "m",
    version: "12",
    last_inference: 1_800_000_000_000,
    inference_count: 5,
    execution_count: 2 ** 40,
    inference_stats: {
      success: duration,
      fail: more,
      queue: duration,
      cache_hit: duration,
      cache_miss: more,
      ...computing,
    },
    batch_stats: [
      { batch_size: 1, ...computing },
      { batch_size: 32, ...computing },
    ],
  };
  const statistics = { model_stats: [{ ...model, response_stats: {}, memory_usage: [] as never[] }] };
  expect(methods.ModelStatistics.responseDeserialize(printStatistics(statistics))).toEqual({
    model_stats: [model],
  });
});

test("the index says what its JSON says", () => {
  const models = [
    { name: "a", version: "1", state: "READY" as const, reason: "" },
    { name: "b", version: "2", state: "UNAVAILABLE" as const, reason: "é" },
  ];
  expect(methods.RepositoryIndex.responseDeserialize(printIndex(models))).toEqual({ models });
});

test("requests are read as they were written", () => {
  const { RepositoryIndex, RepositoryModelLoad, RepositoryModelUnload } = methods;
  expect(readIndexMessage(RepositoryIndex.requestSerialize({ ready: true }))).toEqual({ ready: true });
  expect(readIndexMessage(RepositoryIndex.requestSerialize({}))).toEqual({ ready: false });
  expect(readChangeMessage(RepositoryModelLoad.requestSerialize({ model_name: "m" }), "load")).toEqual({
    model: "m",
  });
  const parameters = { unload_dependents: { bool_param: true } };
  const unload = RepositoryModelUnload.requestSerialize({ model_name: "m", parameters });
  expect(readChangeMessage(unload, "unload")).toEqual({ model: "m" });
});

test.each([
  ["a parameter of an unknown name", { config: { string_param: "{}" } }, "parameters.config"],
  [
    "a file",
    { "file:1/model.onnx": { bytes_param: Buffer.from([1, 2]) } },
    'parameters.file:1/model.onnx: received "2 bytes"',
  ],
  ["a parameter without a value", { unload_dependents: {} }, "received nothing"],
  ["a parameter of another kind", { unload_dependents: { int64_param: 1 } }, "received 1"],
])("%s is refused", (_, parameters, message) => {
  const bytes = methods.RepositoryModelUnload.requestSerialize({ model_name: "m", parameters });
  expect(() => readChangeMessage(bytes, "unload")).toThrow(message);
});

test("another repository is refused", () => {
  const bytes = methods.RepositoryIndex.requestSerialize({ repository_name: "r" });
  expect(() => readIndexMessage(bytes)).toThrow('repository_name: received "r"');
});

test("a field that a message does not have is a mistake that shows", () => {
  expect(() => printMessage({ a: 1, b: 2 }, { a: [1, "int32"] })).toThrow("No field b");
  expect(() => printMessage({ a: "X" }, { a: [1, new Map([["Y", 1]])] })).toThrow("X is none of Y");
});
