/**
 * `ModelConfigResponse`: how a model is served, as Triton's `model_config.proto` numbers it. The tables have the fields
 * that lib/oip/model-config.ts may print, and only those; inference.proto has the same.
 */

import type { OipModelConfig } from "../model-config.ts";
import { type MessageTable, mapOf, printMessage } from "./message-writer.ts";

const DATA_TYPE = new Map(
  [
    "TYPE_INVALID",
    "TYPE_BOOL",
    "TYPE_UINT8",
    "TYPE_UINT16",
    "TYPE_UINT32",
    "TYPE_UINT64",
    "TYPE_INT8",
    "TYPE_INT16",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_FP16",
    "TYPE_FP32",
    "TYPE_FP64",
    "TYPE_STRING",
    "TYPE_BF16",
  ].map((name, number) => [name, number]),
);

const KIND = new Map([
  ["KIND_AUTO", 0],
  ["KIND_GPU", 1],
  ["KIND_CPU", 2],
  ["KIND_MODEL", 3],
]);

const TIMEOUT_ACTION = new Map([
  ["REJECT", 0],
  ["DELAY", 1],
]);

const QUEUE_POLICY: MessageTable = {
  timeout_action: [1, TIMEOUT_ACTION],
  default_timeout_microseconds: [2, "uint64"],
  allow_timeout_override: [3, "bool"],
  max_queue_size: [4, "uint32"],
};

const VERSION_POLICY: MessageTable = {
  latest: [1, { num_versions: [1, "uint32"] }],
  all: [2, {}],
  specific: [3, { versions: [1, "int64"] }],
};

const STEP: MessageTable = {
  model_name: [1, "string"],
  model_version: [2, "int64"],
  input_map: [3, mapOf("string")],
  output_map: [4, mapOf("string")],
};

const WARMUP_INPUT: MessageTable = {
  data_type: [1, DATA_TYPE],
  dims: [2, "int64"],
  zero_data: [3, "bool"],
  random_data: [4, "bool"],
};

const OPTIMIZATION: MessageTable = {
  execution_accelerators: [4, { gpu_execution_accelerator: [1, { name: [1, "string"] }] }],
};

/** Of each of the forms a configuration may have. */
type Fields<T> = T extends unknown ? keyof T : never;

const MODEL_CONFIG: Readonly<Record<Fields<OipModelConfig>, MessageTable[string]>> = {
  name: [1, "string"],
  platform: [2, "string"],
  version_policy: [3, VERSION_POLICY],
  max_batch_size: [4, "int32"],
  input: [5, { name: [1, "string"], data_type: [2, DATA_TYPE], dims: [4, "int64"] }],
  output: [6, { name: [1, "string"], data_type: [2, DATA_TYPE], dims: [3, "int64"] }],
  instance_group: [7, { name: [1, "string"], count: [2, "int32"], kind: [4, KIND] }],
  dynamic_batching: [
    11,
    {
      max_queue_delay_microseconds: [2, "uint64"],
      priority_levels: [4, "uint64"],
      default_priority_level: [5, "uint64"],
      default_queue_policy: [6, QUEUE_POLICY],
    },
  ],
  optimization: [12, OPTIMIZATION],
  parameters: [14, mapOf({ string_value: [1, "string"] })],
  ensemble_scheduling: [15, { step: [1, STEP] }],
  model_warmup: [
    16,
    {
      name: [1, "string"],
      batch_size: [2, "uint32"],
      inputs: [3, mapOf(WARMUP_INPUT)],
      count: [4, "uint32"],
    },
  ],
  backend: [17, "string"],
  response_cache: [24, { enable: [1, "bool"] }],
};

export function printModelConfig(config: OipModelConfig): Buffer {
  return printMessage({ config }, { config: [1, MODEL_CONFIG] });
}
