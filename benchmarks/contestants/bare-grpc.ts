/**
 * The bare server over gRPC: grpc-js with one unary method whose messages are written by hand. A request holds the
 * pixels in field 1, an answer ten float32 scores in field 6, where a ModelInferResponse has its raw contents.
 */

import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";
import { IMAGE_PIXELS } from "../mnist.ts";

export const BARE_GRPC_PATH = "/bare.Digits/Predict";
const LENGTH_DELIMITED = 2;
const PIXELS_TAG = (1 << 3) | LENGTH_DELIMITED;
const SCORES_TAG = (6 << 3) | LENGTH_DELIMITED;
/** A tag, and a length of two bytes. */
const REQUEST_HEAD = Buffer.from([PIXELS_TAG, (IMAGE_PIXELS & 0x7f) | 0x80, IMAGE_PIXELS >> 7]);

export function bareRequest(pixels: Uint8Array): Buffer {
  return Buffer.concat([REQUEST_HEAD, pixels]);
}

/** @returns host and port */
export async function listenGrpc(
  enqueue: (pixels: Uint8Array, answer: (scores: Float32Array) => void) => void,
): Promise<string> {
  const server = new Server();
  server.addService(
    {
      predict: {
        path: BARE_GRPC_PATH,
        requestStream: false,
        responseStream: false,
        requestSerialize: bareRequest,
        requestDeserialize: (message: Buffer) => message.subarray(REQUEST_HEAD.length),
        responseSerialize: (scores: Float32Array) =>
          Buffer.concat([
            Buffer.from([SCORES_TAG, scores.byteLength]),
            new Uint8Array(scores.buffer, scores.byteOffset, scores.byteLength),
          ]),
        responseDeserialize: (message: Buffer) => message,
      },
    },
    {
      predict: (call: ServerUnaryCall<Uint8Array, Float32Array>, done: sendUnaryData<Float32Array>) =>
        enqueue(call.request, (scores) => done(null, scores)),
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return `127.0.0.1:${port}`;
}
