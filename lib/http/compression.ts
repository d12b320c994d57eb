/**
 * Which encoding a client wants its answer in, and the stream that makes it: gzip or deflate (zlib's format, as
 * RFC 9110 means the word), whichever the client gives the greater weight, the first of equals. The fastest level:
 * answers are made once and read once. Compression runs in libuv's threads, piece by piece.
 */

import { constants, createDeflate, createGzip, type Deflate, type Gzip } from "node:zlib";

export type AnswerEncoding = "gzip" | "deflate";

/** Bodies below it go out as they are: they fit in a packet or two. */
export const MIN_COMPRESSED_BYTES = 4096;

const OPTIONS = { level: constants.Z_BEST_SPEED, chunkSize: 64 * 1024 };
const WEIGHT = /^q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/i;

/** @returns undefined for an answer as it is: not asked for, asked for otherwise, or asked not to */
export function chosenEncoding(acceptEncoding: string | undefined): AnswerEncoding | undefined {
  if (acceptEncoding === undefined) return undefined;
  let chosen: string | undefined;
  let best = 0;
  for (const item of acceptEncoding.split(",")) {
    const [name = "", ...parameters] = item.split(";").map((part) => part.trim().toLowerCase());
    if (name !== "gzip" && name !== "deflate" && name !== "identity") continue;
    const weight = weightOf(parameters);
    if (weight <= best) continue;
    chosen = name;
    best = weight;
  }
  return chosen === "gzip" || chosen === "deflate" ? chosen : undefined;
}

export function compressor(encoding: AnswerEncoding): Gzip | Deflate {
  return encoding === "gzip" ? createGzip(OPTIONS) : createDeflate(OPTIONS);
}

/** 0 for a parameter that is no weight: what cannot be understood is not asked for. */
function weightOf(parameters: readonly string[]): number {
  if (parameters.length === 0) return 1;
  return Number(WEIGHT.exec(parameters[0]!)?.[1] ?? 0);
}
