/**
 * Which digit an answer names, for each form in which servers answer. Reads no more than it must, since the load
 * generator shares the machine with the server.
 */

import type { Answer } from "./connection.ts";

/**
 * `json`: `{"prediction": digit}`, `[digit]`, or the digit or ten scores in `outputs[0].data`, as the Open Inference
 * Protocol has it;
 * `scores`: ten little-endian float32 at the end of the body; `message`: the same in field 6 of a protobuf message,
 * where a ModelInferResponse has its raw contents.
 */
export type AnswerForm = "json" | "scores" | "message";

const CLASSES = 10;
const SCORES_BYTES = CLASSES * Float32Array.BYTES_PER_ELEMENT;
const RAW_CONTENTS_FIELD = 6;
const QUOTED_CHARACTERS = 200;

/** The digit, or why there is none. */
export function digitOf(form: AnswerForm, { status, body }: Answer): number | string {
  if (status !== 200) return `status ${status}: ${quoted(body)}`;
  switch (form) {
    case "json":
      return digitOfJson(body);
    case "scores":
      return digitOfScores(body);
    case "message":
      return digitOfMessage(body);
    default:
      return form satisfies never;
  }
}

function digitOfJson(body: Buffer): number | string {
  let answer: { prediction?: unknown; outputs?: { data?: unknown }[] } | unknown[];
  try {
    answer = JSON.parse(body.toString()) as typeof answer;
  } catch {
    return `not JSON: ${quoted(body)}`;
  }
  if (!Array.isArray(answer) && Number.isInteger(answer.prediction)) return answer.prediction as number;
  const scores = Array.isArray(answer) ? answer : answer.outputs?.[0]?.data;
  if (!Array.isArray(scores)) return `no prediction in: ${quoted(body)}`;
  if (scores.length === 1 && Number.isInteger(scores[0])) return scores[0] as number;
  if (scores.length !== CLASSES) return `no prediction in: ${quoted(body)}`;
  return indexOfGreatest((digit) => scores[digit] as number);
}

function digitOfScores(body: Buffer): number | string {
  const start = body.length - SCORES_BYTES;
  if (start < 0) return `${body.length} bytes, too few for ten scores`;
  return indexOfGreatest((digit) => body.readFloatLE(start + digit * Float32Array.BYTES_PER_ELEMENT));
}

function digitOfMessage(message: Buffer): number | string {
  const skimmed = lengthDelimited(message, RAW_CONTENTS_FIELD);
  return skimmed ? digitOfScores(skimmed) : `no raw contents in a message of ${message.length} bytes`;
}

/** The last field of that number among fields that are all length-delimited. */
function lengthDelimited(message: Buffer, field: number): Buffer | undefined {
  let found: Buffer | undefined;
  for (let at = 0; at < message.length; ) {
    const tag = message[at++]!;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++];
      if (byte === undefined || shift > 28) return undefined;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if ((tag & 7) !== 2 || at + length > message.length) return undefined;
    if (tag >> 3 === field) found = message.subarray(at, at + length);
    at += length;
  }
  return found;
}

function indexOfGreatest(score: (digit: number) => number): number {
  let best = 0;
  for (let digit = 1; digit < CLASSES; digit++) if (score(digit) > score(best)) best = digit;
  return best;
}

function quoted(body: Buffer): string {
  return body.toString("utf8", 0, QUOTED_CHARACTERS);
}
