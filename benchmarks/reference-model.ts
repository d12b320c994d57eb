/** An ONNX digit classifier run by onnxruntime directly: what the bare server runs and what answers are checked by. */

import { InferenceSession, Tensor } from "onnxruntime-node";
import { IMAGE_PIXELS } from "./mnist.ts";

/** Inputs of one run. */
export type Feeds = Record<string, Tensor>;

/** What the model's input holds. */
export type ElementType = "uint8" | "float32";

export type ReferenceModel = {
  elementType: ElementType;
  /** Pixels 0..255 of whole images, row-major; as float32 without a copy where the model takes those. */
  feeds(pixels: Uint8Array | Float32Array): Feeds;
  /** Class scores [images, classes] in memory of their own. */
  run(feeds: Feeds): Promise<Float32Array>;
  /** Both: pixels in, class scores out. */
  scores(pixels: Uint8Array | Float32Array): Promise<Float32Array>;
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
  const feeds = (pixels: Uint8Array | Float32Array): Feeds => {
    const dims = [pixels.length / IMAGE_PIXELS, ...shape];
    if (type === "uint8")
      return {
        [name]: new Tensor("uint8", pixels instanceof Uint8Array ? pixels : Uint8Array.from(pixels), dims),
      };
    const floats = pixels instanceof Float32Array ? pixels : Float32Array.from(pixels);
    return { [name]: new Tensor("float32", floats, dims) };
  };
  const run = async (inputs: Feeds): Promise<Float32Array> =>
    (await session.run(inputs))[output]!.data as Float32Array;
  return {
    elementType: type,
    feeds,
    run,
    scores: (pixels) => run(feeds(pixels)),
    close: () => session.release(),
  };
}
