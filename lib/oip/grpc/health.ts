/** The messages of gRPC's own health service, `grpc.health.v1.Health`, which load balancers and probes speak. */

import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { InvalidInputError } from "../../errors.ts";
import { asBuffer } from "./infer-response.ts";
import { END, lengthDelimited, readMessage, varint } from "./message-reader.ts";

export type Health = "SERVING" | "NOT_SERVING" | "SERVICE_UNKNOWN";

const SERVING_STATUS: Readonly<Record<Health, number>> = { SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 };

const SERVICE = lengthDelimited(1);
const STATUS = varint(1);
const MAX_NAME_CHARACTERS = 1024;

/**
 * `HealthCheckRequest`: the name of a service; the empty one is the server as a whole.
 * @throws {MalformedBodyError} {InvalidInputError}
 */
export function readHealthRequest(bytes: Uint8Array): string {
  const service = readMessage(bytes, "HealthCheckRequest", (reader, end) => {
    let name = "";
    for (let key = reader.next(end); key !== END; key = reader.next(end))
      if (key === SERVICE) name = reader.text();
      else reader.pass(key);
    return name;
  });
  if (service.length > MAX_NAME_CHARACTERS)
    throw new InvalidInputError({
      field: "service",
      received: `${service.length} characters`,
      expected: `at most ${MAX_NAME_CHARACTERS}`,
    });
  return service;
}

/** `HealthCheckResponse`. */
export function printHealth(health: Health): Buffer {
  return asBuffer(new BinaryWriter().uint32(STATUS).int32(SERVING_STATUS[health]).finish());
}
