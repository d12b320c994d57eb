/** Every operation of the HTTP surface, by method and URL template. */

import type { Operations } from "./operation.ts";
import { MANAGEMENT_OPERATIONS } from "./operations/management.ts";
import { NODE_OPERATIONS } from "./operations/node.ts";
import { OIP_OPERATIONS } from "./operations/oip.ts";
import { SERVING_OPERATIONS } from "./operations/tfserving.ts";

export const OPERATIONS: Operations = {
  ...OIP_OPERATIONS,
  ...SERVING_OPERATIONS,
  ...MANAGEMENT_OPERATIONS,
  ...NODE_OPERATIONS,
};
