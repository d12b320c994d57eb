/** The Open Inference Protocol's JSON. Requests are open: servers ignore what they do not know. */

import { DATATYPES } from "../../tensor/datatype.ts";
import {
  any,
  arrayOf,
  boolean,
  described,
  either,
  enumOf,
  integer,
  mapOf,
  number,
  object,
  open,
  ref,
  type Schema,
  string,
} from "../schema.ts";

const shape = arrayOf(integer(0), { maxItems: 32 });
const scalar = either(number, string, boolean);
const parameters = ref("Parameters");
const valueOrFlat = either(scalar, arrayOf(scalar));
const duration = ref("Duration");

const DURATION_NAMES = [
  "success",
  "fail",
  "queue",
  "compute_input",
  "compute_infer",
  "compute_output",
  "cache_hit",
  "cache_miss",
];

export const OIP_SCHEMAS: Readonly<Record<string, Schema>> = {
  Datatype: enumOf(DATATYPES),
  Parameters: mapOf(scalar),
  TensorData: described(
    "Row-major, flat or nested as the shape says. Integers beyond 2^53 are written in digits.",
    arrayOf(either(scalar, ref("TensorData"))),
  ),
  TensorSpec: object({
    name: string,
    datatype: ref("Datatype"),
    shape: described("-1 is any size", arrayOf(integer(-1))),
  }),
  InferInput: open(
    object(
      { name: string, datatype: ref("Datatype"), shape },
      { parameters, data: described("Absent where the data are binary", ref("TensorData")) },
    ),
  ),
  InferRequest: open(
    object(
      { inputs: arrayOf(ref("InferInput"), { minItems: 1 }) },
      {
        id: described("Echoed", string),
        parameters: described(
          "priority, timeout (microseconds), cache, sequence_id, binary_data_output",
          parameters,
        ),
        outputs: described(
          "All, where none is named. Parameters: classification, binary_data",
          arrayOf(open(object({ name: string }, { parameters }))),
        ),
      },
    ),
  ),
  InferOutput: object(
    { name: string, datatype: ref("Datatype"), shape },
    { parameters, data: ref("TensorData") },
  ),
  InferResponse: object(
    { model_name: string, model_version: string, outputs: arrayOf(ref("InferOutput")) },
    { id: string, parameters },
  ),
  GenerateRequest: {
    ...object(
      {},
      {
        id: described("Echoed", string),
        parameters: described("Parameters, and inputs too", mapOf(valueOrFlat)),
      },
    ),
    additionalProperties: valueOrFlat,
  },
  GenerateResponse: {
    ...object({ model_name: string, model_version: string }, { id: string }),
    additionalProperties: valueOrFlat,
  },
  ServerMetadata: object({ name: string, version: string, extensions: arrayOf(string) }),
  OipModelMetadata: object({
    name: string,
    versions: arrayOf(string),
    platform: string,
    inputs: arrayOf(ref("TensorSpec")),
    outputs: arrayOf(ref("TensorSpec")),
  }),
  Readiness: object({ ready: boolean }, { name: string, reason: string }),
  IndexEntry: object({
    name: string,
    version: string,
    state: enumOf(["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]),
    reason: string,
  }),
  Duration: object({ count: integer(0), ns: { type: "number", minimum: 0 } }),
  ModelStatistics: object({
    name: string,
    version: string,
    last_inference: described("Epoch milliseconds; 0: none yet", number),
    inference_count: described("Rows that were run; answers from the cache do not count", integer(0)),
    execution_count: integer(0),
    inference_stats: object(Object.fromEntries(DURATION_NAMES.map((name) => [name, duration]))),
    response_stats: mapOf(any),
    batch_stats: arrayOf(
      object({
        batch_size: integer(1),
        compute_input: duration,
        compute_infer: duration,
        compute_output: duration,
      }),
    ),
    memory_usage: arrayOf(any),
  }),
  TritonModelConfig: described(
    "Triton's model configuration, as much of it as has a meaning here",
    open(
      object({
        name: string,
        platform: string,
        backend: string,
        max_batch_size: described("0: requests are not joined", integer(0)),
        input: arrayOf(mapOf(any)),
        output: arrayOf(mapOf(any)),
      }),
    ),
  ),
};
