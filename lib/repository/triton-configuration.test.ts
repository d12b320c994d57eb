import { InvalidInputError } from "../errors.ts";
import { readModelConfiguration } from "../registry/read-configuration.ts";
import { readTritonConfiguration } from "./triton-configuration.ts";

const read = (text: string) => readTritonConfiguration(text, "m");
const configurationOf = (text: string) => readModelConfiguration(read(text).configuration);

test("Triton's batching, queue and priorities are ours", () => {
  const text = `max_batch_size: 16
    dynamic_batching {
      max_queue_delay_microseconds: 2500
      priority_levels: 3
      default_priority_level: 2
      default_queue_policy { default_timeout_microseconds: 250000 max_queue_size: 64 timeout_action: REJECT }
    }
    version_policy { latest { num_versions: 3 } }
    response_cache { enable: true }`;
  expect(configurationOf(text)).toEqual({
    batching: { maxRows: 16, queueDelayMs: 2.5 },
    queue: { maxRequests: 64, timeoutMs: 250, priorityLevels: 3, defaultPriority: 2 },
    versions: { latest: 3 },
    cache: { enabled: true },
  });
  expect(read(text).warnings).toEqual([]);
});

test("what is not said stays the node's default, but nothing is waited for", () => {
  expect(configurationOf("")).toEqual({ batching: { queueDelayMs: 0 } });
  expect(configurationOf("max_batch_size: 0")).toEqual({ batching: { maxRows: 1, queueDelayMs: 0 } });
});

test.each([
  ["version_policy { all { } }", "all"],
  ["version_policy { specific { versions: [ 1, 3 ] } }", { numbers: [1, 3] }],
  ["version_policy { latest { } }", { latest: 1 }],
])("%s is a policy of versions", (text, versions) => {
  expect(configurationOf(text).versions).toEqual(versions);
});

test("instances count over their groups, and threads come from the parameter of ONNX Runtime's backend", () => {
  const text = `instance_group [ { kind: KIND_CPU count: 2 }, { count: 1 } ]
    parameters { key: "intra_op_thread_count" value { string_value: "4" } }
    parameters { key: "execution_mode" value { string_value: "1" } }`;
  expect(configurationOf(text).instances).toEqual({ workers: 3, intraOpThreads: 4 });
  expect(read(text).warnings).toEqual(['parameters "execution_mode" has no effect here']);
});

test.each([
  ["instance_group { kind: KIND_GPU }", "cuda"],
  [
    `instance_group { kind: KIND_GPU }
     optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }`,
    "tensorrt",
  ],
  ['optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }', undefined],
  ["instance_group { kind: KIND_CPU }", undefined],
])("%s computes on %s", (text, provider) => {
  expect(configurationOf(text).provider).toBe(provider);
});

test("warm-up samples keep their rows, shapes and counts", () => {
  const text = `max_batch_size: 8
    model_warmup [ {
      name: "sample" batch_size: 4 count: 3
      inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3, 2 ] random_data: true } }
      inputs { key: "y" value { data_type: TYPE_INT64 dims: [ 1 ] zero_data: true } }
      inputs { key: "z" value { data_type: TYPE_INT64 dims: [ 1 ] input_data_file: "raw" } }
    } ]`;
  expect(configurationOf(text).warmup).toEqual([
    {
      rows: 4,
      count: 3,
      inputs: {
        x: { shape: [4, 3, 2], values: "random" },
        y: { shape: [4, 1], values: "zeros" },
        z: { shape: [4, 1], values: "zeros" },
      },
    },
  ]);
  expect(read(text).warnings).toEqual(['model_warmup: input "z" is zeros in place of "raw"']);
});

test("it tells of tensors, labels and the model's file", () => {
  const text = `max_batch_size: 1 default_model_filename: "net.onnx"
    input { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, -1, -1 ] }
    output { name: "y" data_type: TYPE_STRING dims: 10 label_filename: "labels.txt" }`;
  expect(read(text)).toMatchObject({
    batched: true,
    modelFile: "net.onnx",
    labelFile: "labels.txt",
    inputs: [{ name: "x", dataType: "TYPE_FP32", dims: [3, -1, -1] }],
    outputs: [{ name: "y", dataType: "TYPE_STRING", dims: [10] }],
    warnings: [],
  });
});

test("fields that only change how quickly answers come are ignored, and named", () => {
  const text = `optimization { graph { level: -1 } cuda { graphs: true } input_pinned_memory { enable: true } }
    dynamic_batching { preferred_batch_size: [ 4, 8 ] preserve_ordering: true }
    instance_group { gpus: [ 0 ] rate_limiter { priority: 2 } }
    metric_tags { key: "team" value: "a" }
    max_batch_size: 100000`;
  expect(read(text).warnings).toEqual([
    "optimization.graph.level has no effect here",
    "optimization.cuda.graphs has no effect here",
    "optimization.input_pinned_memory.enable has no effect here",
    "dynamic_batching.preferred_batch_size has no effect here",
    "dynamic_batching.preserve_ordering has no effect here",
    "instance_group.rate_limiter.priority has no effect here",
    "metric_tags.team has no effect here",
    "max_batch_size is 4096 at the most here",
    "instance_group.gpus has no effect here",
  ]);
});

test("a request that waits for room is what DELAY comes to, and the difference is named", () => {
  const text = "dynamic_batching { default_queue_policy { timeout_action: DELAY } }";
  expect(configurationOf(text).queue).toEqual({ whenFull: "delay" });
  expect(read(text).warnings).toEqual([expect.stringContaining("past their deadline they are refused")]);
});

test.each([
  ['name: "other"', "name", '"m"'],
  ['platform: "tensorrt_plan"', "platform", "onnxruntime_onnx"],
  ['backend: "python"', "backend", "onnxruntime"],
  ['default_model_filename: "../../secret"', "default_model_filename", "own folder"],
  ["max_batch_size: -1", "max_batch_size", "0 or more"],
  ["sequence_batching { }", "sequence_batching", "state is given"],
  ['input { name: "x" dims: 1 reshape { shape: [ ] } }', "input.reshape", "own shapes"],
  ['output { name: "x" dims: 1 reshape { shape: [ ] } }', "output.reshape", "own shapes"],
  ['input { name: "x" optional: true }', "input.optional", "every input"],
  ['input { name: "x" allow_ragged_batch: true }', "input.allow_ragged_batch", "equal shape"],
  ['input { name: "x" dims: 0 }', "input[0].dims", "from 1"],
  ["input { dims: 1 }", "input[0].name", "the name of"],
  ['batch_input { target_name: "x" }', "batch_input", "requests give"],
  ['model_operations { op_library_filename: "x.so" }', "model_operations.op_library_filename", "libraries"],
  ["model_transaction_policy { decoupled: true }", "model_transaction_policy.decoupled", "one answer"],
  ['model_repository_agents { agents { name: "checksum" } }', "model_repository_agents.agents", "as it lies"],
  ['cc_model_filenames { key: "7.5" value: "x" }', "cc_model_filenames", "default_model_filename"],
  ["version_policy { all { } latest { num_versions: 1 } }", "version_policy", "one of"],
  ['parameters { key: "intra_op_thread_count" value { string_value: "x" } }', "parameters", "integer"],
  [
    'output [ { name: "a" label_filename: "a.txt" }, { name: "b" label_filename: "b.txt" } ]',
    "output.label_filename",
    "the same file",
  ],
])("%s is refused by name", (text, field, expected) => {
  const act = () => read(text);
  expect(act).toThrow(InvalidInputError);
  expect(act).toThrow(`config.pbtxt: ${field}`);
  expect(act).toThrow(expected);
});
