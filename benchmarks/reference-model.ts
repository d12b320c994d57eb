/** An ONNX digit classifier run by onnxruntime directly: what the bare server runs and what answers are checked by. */

import { InferenceSession, Tensor } from "onnxruntime-node";
import { IMAGE_PIXELS } from "./mnist.ts";

/** Inputs of one run. */
export type Feeds = Record<string, Tensor>;

export type ReferenceModel = {
  /** Pixels 0..255 of whole images, row-major, as the model takes them. */
  feeds(pixels: Uint8Array): Feeds;
  /** Class scores [images, classes] in memory of their own. */
  run(feeds: Feeds): Promise<Float32Array>;
  /** Both: pixels in, class scores out. */
  scores(pixels: Uint8Array): Promise<Float32Array>;
  close(): Promise<void>;
};

/** @throws {Error} for a model whose input is neither UINT8 nor FP32 or holds another number of pixels */
export async function openReferenceModel(file: string, threads: number): Promise<ReferenceModel> {
  const session = await InferenceSession.create(file, { intraOpNumThreads: threads, interOpNumThreads: 1 });
  const input = session.inputMetadata[0];
  const output = session.outputNames[0];
  if (!input?.isTensor || output === undefined)
    throw new Error(`${file}: expected one tensor in and one out`);
  const { name, type } = input;
  const shape = input.shape.slice(1).map(Number);
  if (type !== "uint8" && type !== "float32")
    throw new Error(`${file}: input type ${type}, expected uint8 or float32`);
  if (shape.reduce((a, b) => a * b, 1) !== IMAGE_PIXELS)
    throw new Error(`${file}: input shape [${input.shape}], expected 784 pixels per image`);
  const feeds = (pixels: Uint8Array): Feeds => {
    const dims = [pixels.length / IMAGE_PIXELS, ...shape];
    return {
      [name]:
        type === "uint8"
          ? new Tensor("uint8", pixels, dims)
          : new Tensor("float32", Float32Array.from(pixels), dims),
    };
  };
  const run = async (inputs: Feeds): Promise<Float32Array> =>
    (await session.run(inputs))[output]!.data as Float32Array;
  return {
    feeds,
    run,
    scores: (pixels) => run(feeds(pixels)),
    close: () => session.release(),
  };
}
