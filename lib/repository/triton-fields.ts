/**
 * What becomes of each field of a `config.pbtxt`: it is used, refused or ignored with a warning. A field without which
 * answers would differ from Triton's is refused by name, with what to do instead; one that only changes how quickly
 * they come, or what is reported of them, is ignored. Fields with Triton's default value count as not given.
 */

import type { JsonValue } from "@bufbuild/protobuf";
import { InvalidInputError } from "../errors.ts";

/** Read by triton-configuration.ts; a name stands for all below it. */
const USED: ReadonlySet<string> = new Set([
  "name",
  "platform",
  "backend",
  "max_batch_size",
  "input.name",
  "input.data_type",
  "input.format",
  "input.dims",
  "output.name",
  "output.data_type",
  "output.dims",
  "output.label_filename",
  "default_model_filename",
  "version_policy",
  "dynamic_batching.max_queue_delay_microseconds",
  "dynamic_batching.priority_levels",
  "dynamic_batching.default_priority_level",
  "dynamic_batching.default_queue_policy",
  "instance_group.name",
  "instance_group.kind",
  "instance_group.count",
  "instance_group.gpus",
  "optimization.execution_accelerators.gpu_execution_accelerator",
  "parameters",
  "model_warmup",
  "response_cache.enable",
  "ensemble_scheduling.step.model_name",
  "ensemble_scheduling.step.model_version",
  "ensemble_scheduling.step.input_map",
  "ensemble_scheduling.step.output_map",
]);

const OWN_SHAPE = "no reshape: requests and answers have the model's own shapes";
const NOT_TENSORRT = "a model of ONNX Runtime";

/** What is refused, and what is expected in its place. */
const REFUSED: Readonly<Record<string, string>> = {
  sequence_batching: "no sequences: a model's state is given and returned with each request",
  batch_input: "only inputs that requests give",
  batch_output: "only outputs that hold their request's own rows",
  "input.reshape": OWN_SHAPE,
  "output.reshape": OWN_SHAPE,
  "input.optional": "every input with each request",
  "input.allow_ragged_batch": "requests of equal shape in a batch",
  "input.is_shape_tensor": NOT_TENSORRT,
  "output.is_shape_tensor": NOT_TENSORRT,
  "input.is_non_linear_format_io": NOT_TENSORRT,
  "output.is_non_linear_format_io": NOT_TENSORRT,
  "model_operations.op_library_filename": "no libraries of operators: those of ONNX Runtime alone",
  "model_transaction_policy.decoupled": "one answer per request",
  "model_repository_agents.agents": "the model as it lies in its folder",
  cc_model_filenames: "default_model_filename: one file for every device",
};

type Json = { [key: string]: JsonValue };

/**
 * The names of fields that will be ignored.
 * @param file names the configuration in errors
 * @throws {InvalidInputError} for a field that is refused
 */
export function judgeFields(config: Json, file: string): string[] {
  const ignored = new Set<string>();
  const judge = (value: JsonValue, path: string): void => {
    const expected = Object.hasOwn(REFUSED, path) ? REFUSED[path] : undefined;
    if (expected !== undefined)
      throw new InvalidInputError({ field: `${file}: ${path}`, received: brief(value), expected });
    if (USED.has(path)) return;
    if (Array.isArray(value)) for (const item of value) judge(item, path);
    else if (typeof value === "object" && value !== null)
      for (const [key, item] of Object.entries(value)) judge(item, path === "" ? key : `${path}.${key}`);
    else ignored.add(path);
  };
  judge(config, "");
  return [...ignored];
}

export function brief(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 80);
}
