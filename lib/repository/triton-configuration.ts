/**
 * Triton's `config.pbtxt` as a model's serving configuration here, and what else it says of the model: the tensors it
 * declares, the file of class names, the model's own file. Refused by name: what would change answers and is not done
 * here (triton-fields.ts), a platform that is not ONNX Runtime's, a name other than the folder's.
 */

import { InvalidInputError } from "../errors.ts";
import type { Ensemble } from "../protocol/ensembles.ts";
import type { ModelConfiguration, WarmupRequest } from "../protocol/model-configuration.ts";
import { readConfigText } from "./config-text.ts";
import { type DeclaredTensor, type Scheduling, tritonEnsemble } from "./triton-ensemble.ts";
import { brief, judgeFields } from "./triton-fields.ts";

export type TritonModel = {
  configuration: ModelConfiguration;
  inputs: DeclaredTensor[];
  outputs: DeclaredTensor[];
  /** Whether declared shapes leave out a first dimension, the batch's; undefined: not said. */
  batched: boolean | undefined;
  /** In the model's folder, one class name a line. */
  labelFile: string | undefined;
  /** In each version's folder. */
  modelFile: string;
  /** Undefined: the model is a file of its own. */
  ensemble: Ensemble | undefined;
  /** What is ignored, and why it may be. */
  warnings: string[];
};

/** The message as protobuf's JSON: 64-bit integers as strings, defaults left out. */
type Config = {
  name?: string;
  platform?: string;
  backend?: string;
  max_batch_size?: number;
  input?: Declaration[];
  output?: (Declaration & { label_filename?: string })[];
  default_model_filename?: string;
  version_policy?: { latest?: { num_versions?: number }; all?: object; specific?: { versions?: string[] } };
  dynamic_batching?: {
    max_queue_delay_microseconds?: string;
    priority_levels?: string;
    default_priority_level?: string;
    default_queue_policy?: QueuePolicy;
  };
  instance_group?: { kind?: string; count?: number; gpus?: number[] }[];
  optimization?: {
    execution_accelerators?: { gpu_execution_accelerator?: { name?: string; parameters?: object }[] };
  };
  parameters?: Record<string, { string_value?: string }>;
  model_warmup?: { batch_size?: number; count?: number; inputs?: Record<string, WarmupInput> }[];
  response_cache?: { enable?: boolean };
  ensemble_scheduling?: Scheduling;
};
type Declaration = { name?: string; data_type?: string; dims?: string[] };
type QueuePolicy = {
  timeout_action?: string;
  default_timeout_microseconds?: string;
  max_queue_size?: number;
};
type WarmupInput = { dims?: string[]; random_data?: boolean; input_data_file?: string };
type Warn = (warning: string) => void;

export const CONFIG_FILE = "config.pbtxt";
const DEFAULT_MODEL_FILE = "model.onnx";
const PLATFORM = "onnxruntime_onnx";
const ENSEMBLE = "ensemble";
const BACKEND = "onnxruntime";
const US_PER_MS = 1000;
/** What the configuration here takes; Triton's fields are wider. */
const LIMITS = {
  maxRows: 4096,
  queueDelayMs: 1000,
  timeoutMs: 600_000,
  maxRequests: 1_000_000,
  workers: 256,
  threads: 256,
};

/**
 * @param model the folder's name
 * @throws {InvalidInputError} naming the field
 */
export function readTritonConfiguration(text: string, model: string): TritonModel {
  const json = readConfigText(text, CONFIG_FILE);
  const warnings = judgeFields(json, CONFIG_FILE).map((path) => `${path} has no effect here`);
  const config = json as Config;
  checkIdentity(config, model);
  const warn: Warn = (warning) => warnings.push(warning);
  const sections = {
    batching: batchingOf(config, warn),
    queue: queueOf(config, warn),
    instances: instancesOf(config, warn),
    provider: providerOf(config, warn),
    warmup: warmupOf(config, warn),
    versions: versionsOf(config),
    cache: config.response_cache && { enabled: config.response_cache.enable ?? false },
  };
  const { ensemble_scheduling: scheduling, max_batch_size: rows = 0 } = config;
  const inputs = (config.input ?? []).map((tensor, i) => declared(tensor, `input[${i}]`));
  const outputs = (config.output ?? []).map((tensor, i) => declared(tensor, `output[${i}]`));
  const labelFiles = new Set((config.output ?? []).flatMap(({ label_filename }) => label_filename ?? []));
  if (labelFiles.size > 1) refuse("output.label_filename", [...labelFiles], "the same file for every output");
  return {
    configuration: given(sections),
    inputs,
    outputs,
    batched: config.max_batch_size === undefined ? undefined : config.max_batch_size > 0,
    labelFile: [...labelFiles][0],
    modelFile: config.default_model_filename ?? DEFAULT_MODEL_FILE,
    ensemble: scheduling && tritonEnsemble(scheduling, inputs, outputs, rows > 0, CONFIG_FILE),
    warnings,
  };
}

function checkIdentity(config: Config, model: string) {
  const { name, platform, backend, default_model_filename: file, ensemble_scheduling } = config;
  const expected = ensemble_scheduling ? ENSEMBLE : PLATFORM;
  if (name !== undefined && name !== model) refuse("name", name, `"${model}", the folder's name, or none`);
  if (platform !== undefined && platform !== expected) refuse("platform", platform, `"${expected}"`);
  if (backend !== undefined && (ensemble_scheduling || backend !== BACKEND))
    refuse("backend", backend, ensemble_scheduling ? "none" : `"${BACKEND}"`);
  if (file !== undefined && /[/\\]/.test(file))
    refuse("default_model_filename", file, "a file in the version's own folder");
}

function batchingOf(config: Config, warn: Warn): ModelConfiguration["batching"] {
  const { max_batch_size: rows, dynamic_batching: dynamic } = config;
  const delayUs = dynamic?.max_queue_delay_microseconds;
  if (rows !== undefined && rows < 0) refuse("max_batch_size", rows, "0 or more");
  return given({
    maxRows:
      rows === undefined ? undefined : atMost(Math.max(1, rows), LIMITS.maxRows, "max_batch_size", warn),
    // Triton's default: merge what waits anyway, and wait for nothing.
    queueDelayMs: atMost(Number(delayUs ?? 0) / US_PER_MS, LIMITS.queueDelayMs, "max_queue_delay", warn),
  });
}

function queueOf({ dynamic_batching: dynamic = {} }: Config, warn: Warn): ModelConfiguration["queue"] {
  const { timeout_action, default_timeout_microseconds, max_queue_size } = dynamic.default_queue_policy ?? {};
  const { priority_levels: levels, default_priority_level: level } = dynamic;
  if (timeout_action === "DELAY")
    warn(
      "timeout_action DELAY lets requests wait for room in a full queue; past their deadline they are refused",
    );
  return given({
    maxRequests:
      max_queue_size === undefined
        ? undefined
        : atMost(max_queue_size, LIMITS.maxRequests, "max_queue_size", warn),
    timeoutMs:
      default_timeout_microseconds === undefined
        ? undefined
        : Math.max(
            1,
            atMost(
              Number(default_timeout_microseconds) / US_PER_MS,
              LIMITS.timeoutMs,
              "default_timeout_microseconds",
              warn,
            ),
          ),
    priorityLevels: levels === undefined ? undefined : Number(levels),
    defaultPriority: level === undefined ? undefined : Number(level),
    whenFull: timeout_action === "DELAY" ? ("delay" as const) : undefined,
  });
}

function instancesOf({ instance_group: groups = [], parameters = {} }: Config, warn: Warn) {
  const count = groups.reduce((sum, { count = 1 }) => sum + count, 0);
  for (const [name, { string_value: value = "" }] of Object.entries(parameters))
    if (name !== "intra_op_thread_count") warn(`parameters "${name}" has no effect here`);
    else if (!/^\d+$/.test(value)) refuse(`parameters "${name}"`, value, "an integer of at least 0");
  if (groups.some(({ gpus = [] }) => gpus.length > 0)) warn("instance_group.gpus has no effect here");
  // 0 leaves it to the server, in Triton as here.
  const threads = Number(parameters.intra_op_thread_count?.string_value ?? 0);
  return given({
    workers: count > 0 ? atMost(count, LIMITS.workers, "instance_group.count", warn) : undefined,
    intraOpThreads: threads > 0 ? atMost(threads, LIMITS.threads, "intra_op_thread_count", warn) : undefined,
  });
}

function providerOf({ instance_group: groups = [], optimization }: Config, warn: Warn) {
  const accelerators = optimization?.execution_accelerators?.gpu_execution_accelerator ?? [];
  for (const { name, parameters } of accelerators) {
    if (name !== "tensorrt" && name !== "cuda")
      warn(`gpu_execution_accelerator "${name}" has no effect here`);
    if (parameters) warn(`gpu_execution_accelerator "${name}": parameters have no effect here`);
  }
  if (!groups.some(({ kind }) => kind === "KIND_GPU")) {
    if (accelerators.length > 0)
      warn("gpu_execution_accelerator has no effect here without an instance_group of KIND_GPU");
    return undefined;
  }
  return accelerators.some(({ name }) => name === "tensorrt") ? ("tensorrt" as const) : ("cuda" as const);
}

function warmupOf({ model_warmup: samples, max_batch_size: most }: Config, warn: Warn) {
  return samples?.map(({ batch_size: rows = 1, count = 1, inputs = {} }): WarmupRequest => {
    const entries = Object.entries(inputs).map(([name, { dims = [], random_data, input_data_file }]) => {
      if (input_data_file) warn(`model_warmup: input "${name}" is zeros in place of "${input_data_file}"`);
      const shape = dims.map(Number);
      const values = random_data ? ("random" as const) : ("zeros" as const);
      return [name, { shape: most ? [rows, ...shape] : shape, values }] as const;
    });
    return { rows, count: Math.max(1, count), inputs: Object.fromEntries(entries) };
  });
}

function versionsOf({ version_policy: policy }: Config): ModelConfiguration["versions"] {
  if (!policy) return undefined;
  const { latest, all, specific } = policy;
  if ([latest, all, specific].filter(Boolean).length > 1)
    refuse("version_policy", policy, "one of latest, all and specific");
  if (all) return "all";
  if (specific) return { numbers: (specific.versions ?? []).map(Number) };
  return { latest: latest?.num_versions ?? 1 };
}

function declared({ name, data_type, dims }: Declaration, field: string): DeclaredTensor {
  if (name === undefined) return refuse(`${field}.name`, "", "the name of one of the model's tensors");
  const sizes = dims?.map(Number);
  if (sizes?.some((size) => size === 0 || size < -1))
    refuse(`${field}.dims`, sizes, "sizes from 1, or -1 for any");
  return { name, dataType: data_type, dims: sizes };
}

function atMost(value: number, limit: number, field: string, warn: Warn): number {
  if (value > limit) warn(`${field} is ${limit} at the most here`);
  return Math.min(value, limit);
}

/** Without what is undefined or an empty section. */
function given<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(fields).filter(
    ([, value]) => value !== undefined && !(typeof value === "object" && Object.keys(value).length === 0),
  );
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

function refuse(field: string, received: unknown, expected: string): never {
  throw new InvalidInputError({ field: `${CONFIG_FILE}: ${field}`, received: brief(received), expected });
}
