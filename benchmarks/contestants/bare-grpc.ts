/**
 * The bare server over gRPC: grpc-js with one unary method whose messages are written by hand. A request holds the
 * image in field 1, an answer ten float32 scores in field 6, where a ModelInferResponse has its raw contents.
 */

import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from "@grpc/grpc-js";

export const BARE_GRPC_PATH = "/bare.Digits/Predict";
const LENGTH_DELIMITED = 2;
const PIXELS_TAG = (1 << 3) | LENGTH_DELIMITED;
const SCORES_TAG = (6 << 3) | LENGTH_DELIMITED;
/** A tag, and a length that takes two bytes whether pixels are of one byte or four. */
const REQUEST_HEAD_BYTES = 3;

/** @param image the bytes of what the model takes */
export function bareRequest(image: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([PIXELS_TAG, (image.length & 0x7f) | 0x80, image.length >> 7]), image]);
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
        requestDeserialize: (message: Buffer) => message.subarray(REQUEST_HEAD_BYTES),
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
