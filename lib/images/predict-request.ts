/**
 * The body of `POST /predict`: `{"image": …, "scale"?, "model"?, "version"?, "cache"?}`.
 *
 * `image` is one image or a batch of them, each nested as the model's input (28x28x1), without its channel axis
 * (28x28), or flat (784); sizes come from the model's metadata. `scale` declares the largest value a pixel may
 * have: 255 (the default) or 1. Models take 0..255; images declared 0..1 are multiplied by 255. Values outside
 * 0..scale are refused rather than clipped: they mean that the caller's idea of the scale is wrong.
 */

import { InvalidInputError } from "../errors.ts";
import { describeJson, parseJsonObject } from "../http/json-body.ts";
import { readBoolean } from "../oip/request-fields.ts";
import { readTensorData } from "../oip/tensor-data.ts";
import type { ModelMetadata, PredictRequest } from "../protocol/inference.ts";
import { elementCount, formatShape, type TensorSpec } from "../tensor/tensor.ts";

export type ImageBody = { image: unknown; scale: number; model?: string; version?: string; cache?: boolean };

export type ImageRequest = { request: PredictRequest; batch: boolean };

const FIELDS = ["image", "scale", "model", "version", "cache"];
const PIXEL_MAX = 255;
const SCALES = [PIXEL_MAX, 1];

/** Everything but the pixels, which need the model's metadata. @throws {MalformedBodyError} {InvalidInputError} */
export function parseImageBody(body: Buffer): ImageBody {
  const root = parseJsonObject(body);
  for (const field in root)
    if (!FIELDS.includes(field))
      throw new InvalidInputError({
        field: `field '${field}'`,
        received: describeJson(root[field]),
        expected: `only ${FIELDS.join(", ")}`,
      });
  const { image, scale, model, version, cache } = root;
  if (!Array.isArray(image))
    throw new InvalidInputError({
      field: "image",
      received: describeJson(image),
      expected: "one image or a batch of images, as arrays of numbers",
    });
  if (scale !== undefined && !SCALES.includes(scale as number))
    throw new InvalidInputError({
      field: "scale",
      received: describeJson(scale),
      expected: "255 (pixels are 0..255, the default) or 1 (pixels are 0..1)",
    });

  const parsed: ImageBody = { image, scale: (scale as number | undefined) ?? PIXEL_MAX };
  if (model !== undefined) parsed.model = readText(model, "model");
  if (version !== undefined)
    parsed.version = Number.isSafeInteger(version) ? String(version) : readText(version, "version");
  if (cache !== undefined) parsed.cache = readBoolean(cache, "cache");
  return parsed;
}

/**
 * The prediction to ask for.
 * @throws {InvalidInputError} when the image does not fit the model's input, or the model takes something else
 */
export function imagePredictRequest(body: ImageBody, metadata: ModelMetadata): ImageRequest {
  const spec = imageInput(metadata);
  const dims = spec.shape.slice(1);
  const { shape, batch } = layoutOf(body.image, dims);
  const data = readTensorData(body.image, "FP32", shape, "image") as Float32Array;
  assertRange(data, body.scale, shape);
  if (body.scale !== PIXEL_MAX) for (let i = 0; i < data.length; i++) data[i] = data[i]! * PIXEL_MAX;

  const rows = batch ? shape[0]! : 1;
  const request: PredictRequest = {
    model: metadata.model,
    inputs: [{ name: spec.name, datatype: "FP32", shape: [rows, ...dims], data }],
  };
  if (body.version !== undefined) request.version = body.version;
  if (body.cache !== undefined) request.cache = body.cache;
  return { request, batch };
}

function readText(value: unknown, field: string): string {
  if (typeof value !== "string" || value === "")
    throw new InvalidInputError({ field, received: describeJson(value), expected: "a non-empty string" });
  return value;
}

/** The one FP32 input, batch first and all other axes fixed, that an image can go into. */
function imageInput({ model, inputs }: ModelMetadata): TensorSpec {
  const [spec] = inputs;
  if (
    inputs.length === 1 &&
    spec?.datatype === "FP32" &&
    spec.shape.length > 1 &&
    spec.shape.slice(1).every((n) => n > 0)
  )
    return spec;
  const described = inputs
    .map(({ name, datatype, shape }) => `${name} ${datatype}${formatShape(shape)}`)
    .join(", ");
  throw new InvalidInputError({
    field: "model",
    received: `'${model}', which takes ${described}`,
    expected: "a model with one FP32 image input; use /v2/models/{model}/infer for others",
  });
}

/**
 * Which of the accepted layouts the value has, judged by its depth and the lengths along its first elements;
 * raggedness is found when the data is read. One image wins over a batch where both would fit.
 */
function layoutOf(image: unknown, dims: readonly number[]): { shape: number[]; batch: boolean } {
  const lengths = leadingLengths(image);
  const singles = singleShapes(dims);
  const single = singles.find((shape) => sameLengths(lengths, shape));
  if (single) return { shape: [...single], batch: false };
  const each = singles.find((shape) => sameLengths(lengths.slice(1), shape));
  if (each) return { shape: [lengths[0]!, ...each], batch: true };
  throw new InvalidInputError({
    field: "image",
    received: lengths.length === 1 ? `${lengths[0]} values` : `an array of ${lengths.join("x")}`,
    expected: `${singles.map((shape) => shape.join("x")).join(", ")} values, or a batch of these`,
  });
}

/** Nested, without a trailing axis of one, and flat. */
function singleShapes(dims: readonly number[]): readonly (readonly number[])[] {
  const shapes: (readonly number[])[] = [dims];
  if (dims.length > 1 && dims.at(-1) === 1) shapes.push(dims.slice(0, -1));
  if (dims.length > 1 && shapes.at(-1)!.length > 1) shapes.push([elementCount(dims)]);
  return shapes;
}

function leadingLengths(value: unknown): number[] {
  const lengths: number[] = [];
  for (let level = value; Array.isArray(level); level = level[0]) lengths.push(level.length);
  return lengths;
}

function sameLengths(lengths: readonly number[], shape: readonly number[]): boolean {
  return lengths.length === shape.length && lengths.every((length, i) => length === shape[i]);
}

function assertRange(data: Float32Array, scale: number, shape: readonly number[]): void {
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    if (value < 0 || value > scale)
      throw new InvalidInputError({
        field: `image${indexPath(i, shape)}`,
        received: String(value),
        expected: `a value from 0 to ${scale} (declare "scale" 1 or 255)`,
      });
  }
}

/** `[1][27][3]` for a flat index into `shape`. */
function indexPath(flat: number, shape: readonly number[]): string {
  let path = "";
  let rest = flat;
  for (const size of [...shape].reverse()) {
    path = `[${rest % size}]${path}`;
    rest = Math.floor(rest / size);
  }
  return path;
}
