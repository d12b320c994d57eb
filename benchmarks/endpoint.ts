/** One way to ask a server: where, with what body for an image, and in what form it answers. */

import type { Target } from "./load.ts";
import type { DigitImage } from "./mnist.ts";

export type Endpoint = Target & { body: (image: DigitImage) => Uint8Array };

export const JSON_HEADERS = { "Content-Type": "application/json" };
export const RAW_HEADERS = { "Content-Type": "application/octet-stream" };
