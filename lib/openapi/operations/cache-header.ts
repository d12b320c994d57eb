/** The header that predictions of every protocol know. */

import type { HeaderParameter } from "../operation.ts";
import { enumOf } from "../schema.ts";

export const CACHE_HEADER: HeaderParameter = {
  name: "Moiety-Cache",
  description: "off: neither read nor write the prediction cache",
  schema: enumOf(["on", "off"]),
};
