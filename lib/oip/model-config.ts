/** Open Inference Protocol v2, model configuration extension: how a model is served, in Triton's terms. */

import type { EnsembleStepMap } from "../protocol/ensembles.ts";
import type { ModelMetadata } from "../protocol/inference.ts";
import type { ModelConfiguration, WarmupRequest } from "../protocol/model-configuration.ts";
import type { Datatype } from "../tensor/datatype.ts";
import type { TensorSpec } from "../tensor/tensor.ts";

/** What a node does where a model's configuration does not say. */
export type ServingDefaults = {
  workers: number;
  maxBatchRows: number;
  queueDelayMs: number;
  maxQueue: number;
  timeoutMs: number;
};

const US_PER_MS = 1000;
const DEFAULT_LEVELS = 16;

export type OipModelConfig = ReturnType<typeof modelConfig>;

export function modelConfig(
  { model, platform, inputs, outputs, steps }: ModelMetadata,
  configuration: ModelConfiguration,
  defaults: ServingDefaults,
) {
  const { batching, queue, instances, provider = "cpu", warmup, versions, cache } = configuration;
  // Where the first dimension is free, it counts the rows of a batch and is left out of the shapes.
  const batches = [...inputs, ...outputs].every(({ shape }) => shape[0] === -1);
  const levels = queue?.priorityLevels ?? DEFAULT_LEVELS;
  const tensor = ({ name, datatype, shape }: TensorSpec) => ({
    name,
    data_type: triton(datatype),
    dims: batches ? shape.slice(1) : shape,
  });
  return {
    name: model,
    platform,
    backend: steps ? "" : "onnxruntime",
    version_policy: versionPolicy(versions),
    max_batch_size: batches ? (batching?.maxRows ?? defaults.maxBatchRows) : 0,
    input: inputs.map(tensor),
    output: outputs.map(tensor),
    ...(steps
      ? { ensemble_scheduling: { step: steps.map(scheduledStep) } }
      : {
          instance_group: [
            {
              name: model,
              kind: provider === "cpu" ? "KIND_CPU" : "KIND_GPU",
              count: Math.min(instances?.workers ?? defaults.workers, defaults.workers),
            },
          ],
          dynamic_batching: {
            max_queue_delay_microseconds: Math.round(
              (batching?.queueDelayMs ?? defaults.queueDelayMs) * US_PER_MS,
            ),
            priority_levels: levels,
            default_priority_level: queue?.defaultPriority ?? Math.ceil(levels / 2),
            default_queue_policy: {
              timeout_action: queue?.whenFull === "delay" ? "DELAY" : "REJECT",
              default_timeout_microseconds: Math.round((queue?.timeoutMs ?? defaults.timeoutMs) * US_PER_MS),
              allow_timeout_override: true,
              max_queue_size: queue?.maxRequests ?? defaults.maxQueue,
            },
          },
        }),
    ...(provider !== "cpu" && {
      optimization: { execution_accelerators: { gpu_execution_accelerator: [{ name: provider }] } },
    }),
    ...(warmup && { model_warmup: warmup.map((request, i) => warmupOf(request, i, inputs, batches)) }),
    response_cache: { enable: !steps && (cache?.enabled ?? true) },
    parameters: { ...parametersOf(configuration), ...aliasesOf(steps ?? []) },
  };
}

/** The runtime's options as Triton's ONNX Runtime backend names them, and what Triton has no field for. */
function parametersOf({ provider, instances, cache }: ModelConfiguration) {
  const parameters: Record<string, { string_value: string }> = {};
  const add = (name: string, value: unknown) => {
    parameters[name] = { string_value: String(value) };
  };
  add("intra_op_thread_count", instances?.intraOpThreads ?? 1);
  add("execution_provider", provider ?? "cpu");
  if (cache?.ttlSeconds !== undefined) add("cache_ttl_seconds", cache.ttlSeconds);
  if (cache?.maxBytes !== undefined) add("cache_max_bytes", cache.maxBytes);
  return parameters;
}

/** A step of operators has no model: it goes under its own name. -1 is what a request without a version gets. */
function scheduledStep({ name, model = name, version, inputs, outputs }: EnsembleStepMap) {
  return {
    model_name: model,
    model_version: /^\d+$/.test(version ?? "") ? Number(version) : -1,
    input_map: inputs,
    output_map: outputs,
  };
}

/** Steps that name an alias, which has no field there. */
function aliasesOf(steps: readonly EnsembleStepMap[]) {
  return Object.fromEntries(
    steps
      .filter(({ version }) => version !== undefined && !/^\d+$/.test(version))
      .map(({ name, version }) => [`step_alias_${name}`, { string_value: version! }]),
  );
}

/** Listed values have no form of their own there: their type and shape are said. */
function warmupOf(
  { rows = 1, count = 1, inputs: given = {} }: WarmupRequest,
  index: number,
  inputs: readonly TensorSpec[],
  batches: boolean,
) {
  const input = ({ name, datatype, shape }: TensorSpec) => {
    const { shape: dims = shape, values = "zeros" } = given[name] ?? {};
    return [
      name,
      {
        data_type: triton(datatype),
        dims: batches ? dims.slice(1) : dims,
        ...(values === "zeros" && { zero_data: true }),
        ...(values === "random" && { random_data: true }),
      },
    ] as const;
  };
  return {
    name: `warmup_${index + 1}`,
    batch_size: batches ? rows : 0,
    inputs: Object.fromEntries(inputs.map(input)),
    count,
  };
}

function versionPolicy(versions: ModelConfiguration["versions"]) {
  if (versions === "all") return { all: {} };
  if (versions && "numbers" in versions) return { specific: { versions: versions.numbers } };
  return { latest: { num_versions: versions?.latest ?? 2 } };
}

function triton(datatype: Datatype): string {
  return datatype === "BYTES" ? "TYPE_STRING" : `TYPE_${datatype}`;
}
