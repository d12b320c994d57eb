/** The schemas of `components/schemas`, by name. */

import { any, described, object, type Schema, string } from "./schema.ts";
import { ENSEMBLE_SCHEMAS } from "./schemas/ensemble.ts";
import { MANAGEMENT_SCHEMAS } from "./schemas/management.ts";
import { OIP_SCHEMAS } from "./schemas/oip.ts";
import { ROLLOUT_SCHEMAS } from "./schemas/rollout.ts";
import { SERVING_SCHEMAS } from "./schemas/tfserving.ts";

export const SCHEMAS: Readonly<Record<string, Schema>> = {
  Error: object(
    {
      error: described("What is wrong, for people", string),
      type: described("Its kind, for programs: MODEL_NOT_FOUND", {
        type: "string",
        pattern: "^[A-Z][A-Z0-9_]*$",
      }),
    },
    { data: described("The facts", any) },
  ),
  ...OIP_SCHEMAS,
  ...SERVING_SCHEMAS,
  ...MANAGEMENT_SCHEMAS,
  ...ROLLOUT_SCHEMAS,
  ...ENSEMBLE_SCHEMAS,
};
