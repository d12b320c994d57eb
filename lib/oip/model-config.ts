/** Open Inference Protocol v2, model configuration extension: how a model is served, in Triton's terms. */

import type { ModelMetadata } from "../protocol/inference.ts";
import type { ModelConfiguration } from "../protocol/model-configuration.ts";
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
  { model, platform, inputs, outputs }: ModelMetadata,
  { batching, queue, versions, cache }: ModelConfiguration,
  defaults: ServingDefaults,
) {
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
    backend: "onnxruntime",
    version_policy: versionPolicy(versions),
    max_batch_size: batches ? (batching?.maxRows ?? defaults.maxBatchRows) : 0,
    input: inputs.map(tensor),
    output: outputs.map(tensor),
    instance_group: [{ name: model, kind: "KIND_CPU", count: defaults.workers }],
    dynamic_batching: {
      max_queue_delay_microseconds: Math.round((batching?.queueDelayMs ?? defaults.queueDelayMs) * US_PER_MS),
      priority_levels: levels,
      default_priority_level: queue?.defaultPriority ?? Math.ceil(levels / 2),
      default_queue_policy: {
        timeout_action: "REJECT",
        default_timeout_microseconds: Math.round((queue?.timeoutMs ?? defaults.timeoutMs) * US_PER_MS),
        allow_timeout_override: true,
        max_queue_size: queue?.maxRequests ?? defaults.maxQueue,
      },
    },
    response_cache: { enable: cache?.enabled ?? true },
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
