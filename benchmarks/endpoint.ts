/** One way to ask a server: where, with what body for an image, and in what form it answers. */

import type { Target } from "./load.ts";
import type { DigitImage } from "./mnist.ts";

export type Endpoint = Target & {
  body: (image: DigitImage) => Uint8Array;
  /** Where a server that answers from its cache tells how often it has. */
  statisticsUrl?: string;
};

export const JSON_HEADERS = { "Content-Type": "application/json" };
export const RAW_HEADERS = { "Content-Type": "application/octet-stream" };

/** Pixels as little-endian elements. */
export const uint8Bytes = (pixels: Uint8Array): Uint8Array => pixels;
export const float32Bytes = (pixels: Uint8Array): Uint8Array =>
  new Uint8Array(Float32Array.from(pixels).buffer);
