/** TensorFlow Serving's JSON. NaN, Infinity and -Infinity, which it allows, are beyond what a schema can say. */

import {
  any,
  arrayOf,
  boolean,
  described,
  either,
  enumOf,
  mapOf,
  number,
  object,
  open,
  ref,
  type Schema,
  string,
} from "../schema.ts";

const signature_name = described("serving_default, or tensorflow/serving/ and the verb", string);
const features = mapOf(either(ref("ServingScalar"), arrayOf(ref("ServingScalar"))));
const tensorInfo = object({
  dtype: string,
  tensor_shape: object({ dim: arrayOf(object({ size: string, name: string })), unknown_rank: boolean }),
  name: string,
});

export const SERVING_SCHEMAS: Readonly<Record<string, Schema>> = {
  Base64: described("A string, given as base64 of its UTF-8", object({ b64: string })),
  ServingScalar: either(number, string, boolean, ref("Base64")),
  ServingValue: described(
    "A tensor in nested lists",
    either(ref("ServingScalar"), arrayOf(ref("ServingValue"))),
  ),
  PredictRequest: {
    ...open(
      object(
        {},
        {
          signature_name,
          instances: described(
            "Rows: of the only input, or objects of all inputs by name",
            arrayOf(either(ref("ServingValue"), mapOf(ref("ServingValue"))), { minItems: 1 }),
          ),
          inputs: described(
            "Columns: of the only input, or an object of all inputs by name",
            either(ref("ServingValue"), mapOf(ref("ServingValue"))),
          ),
        },
      ),
    ),
    oneOf: [{ required: ["instances"] }, { required: ["inputs"] }],
  },
  PredictResponse: either(
    object({ predictions: arrayOf(either(ref("ServingValue"), mapOf(ref("ServingValue")))) }),
    object({ outputs: either(ref("ServingValue"), mapOf(ref("ServingValue"))) }),
  ),
  ExampleRequest: open(
    object(
      { examples: arrayOf(features, { minItems: 1 }) },
      { signature_name, context: described("Features of all examples", features) },
    ),
  ),
  ClassifyResponse: object({
    results: arrayOf(
      described(
        "Label and score of each class",
        arrayOf({ type: "array", prefixItems: [string, number], items: false, minItems: 2 }),
      ),
    ),
  }),
  RegressResponse: object({ results: arrayOf(number) }),
  ServingModels: object({ models: arrayOf(string) }),
  ServingStatus: object({
    model_version_status: arrayOf(
      object({
        version: string,
        state: enumOf(["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]),
        status: object({ error_code: string, error_message: string }),
      }),
    ),
    name: string,
    ready: boolean,
  }),
  ServingMetadata: object({
    model_spec: object({ name: string, signature_name: string, version: string }),
    metadata: object({
      signature_def: object({
        signature_def: mapOf(
          object({
            inputs: mapOf(tensorInfo),
            outputs: mapOf(tensorInfo),
            method_name: string,
            defaults: mapOf(any),
          }),
        ),
      }),
    }),
  }),
};
