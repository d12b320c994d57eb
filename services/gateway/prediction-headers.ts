/**
 * Headers that predictions over HTTP have in common, whatever the protocol of the body: `Moiety-Cache: off` keeps a
 * request from the prediction cache, `X-Affinity-Key` names what is to stay on one node. Requests without them pay for
 * two look-ups.
 */

import type { IncomingMessage } from "node:http";
import { InvalidInputError } from "../../lib/errors.ts";
import { readAffinity } from "../../lib/protocol/affinity.ts";
import type { PredictRequest } from "../../lib/protocol/inference.ts";

/** Also the name of gRPC metadata. */
export const AFFINITY_HEADER = "x-affinity-key";
const CACHE_HEADER = "moiety-cache";

/** Sets what the headers say; they go before what the body says. @throws {InvalidInputError} */
export function applyHeaders({ headers }: IncomingMessage, request: PredictRequest): void {
  const affinity = headers[AFFINITY_HEADER];
  if (affinity !== undefined) request.affinity = readAffinity(affinity, "header X-Affinity-Key");
  const cache = headers[CACHE_HEADER];
  if (cache === undefined) return;
  if (cache !== "on" && cache !== "off")
    throw new InvalidInputError({
      field: "header Moiety-Cache",
      received: JSON.stringify(cache),
      expected: "on or off",
    });
  if (cache === "off") request.cache = false;
}
