/** The headers that predictions of every protocol know. */

import type { HeaderParameter } from "../operation.ts";
import { enumOf, string } from "../schema.ts";

export const PREDICTION_HEADERS: readonly HeaderParameter[] = [
  {
    name: "Moiety-Cache",
    description: "off: neither read nor write the prediction cache",
    schema: enumOf(["on", "off"]),
  },
  {
    name: "X-Affinity-Key",
    description:
      "Requests with the same key go to the same node while it lives, and to one version of a canary's two",
    schema: { ...string, minLength: 1, maxLength: 256 },
  },
];
