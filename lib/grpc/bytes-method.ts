/** Methods whose messages reach and leave them as bytes, to be read and printed where their faults can be answered. */

import type { MethodDefinition } from "@grpc/grpc-js";

export type Streams = { requests?: boolean; responses?: boolean };

/** @param streams which side may send many messages; by default neither */
export function bytesMethod(
  service: string,
  name: string,
  { requests = false, responses = false }: Streams = {},
): MethodDefinition<Buffer, Buffer> {
  return {
    path: `/${service}/${name}`,
    requestStream: requests,
    responseStream: responses,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  };
}

function asIs(bytes: Buffer): Buffer {
  return bytes;
}
