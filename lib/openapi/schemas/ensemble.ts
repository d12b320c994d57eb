/** Schemas of ensembles. */

import { arrayOf, described, either, mapOf, object, open, ref, type Schema, string } from "../schema.ts";

const names = arrayOf(string, { minItems: 1, maxItems: 64 });

export const ENSEMBLE_SCHEMAS: Readonly<Record<string, Schema>> = {
  Ensemble: object({
    inputs: arrayOf(ref("TensorSpec"), { minItems: 1, maxItems: 64 }),
    outputs: arrayOf(ref("TensorSpec"), { minItems: 1, maxItems: 64 }),
    steps: arrayOf(either(ref("ModelStep"), ref("OperatorStep")), { minItems: 1, maxItems: 64 }),
  }),
  ModelStep: object(
    {
      name: string,
      model: string,
      inputs: described("Input of the model to the tensor it reads", mapOf(string)),
      outputs: described("Output of the model to the tensor it writes", mapOf(string)),
    },
    { version: described("Digits, or an alias that is looked up for each request", string) },
  ),
  OperatorStep: object({
    name: string,
    operators: arrayOf(ref("OperatorCall"), { minItems: 1, maxItems: 64 }),
  }),
  OperatorCall: described(
    "One operator, with its own options besides",
    open(
      object(
        { operator: string },
        {
          inputs: described("Tensors it reads; without: the result of the one before", names),
          outputs: described("Tensors it writes", names),
        },
      ),
    ),
  ),
  EnsemblePublication: object({ ensemble: ref("Ensemble") }, { labels: arrayOf(string) }),
};
