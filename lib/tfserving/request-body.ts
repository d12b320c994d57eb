/**
 * The JSON of a TensorFlow Serving REST request, in the dialect that server reads: `NaN`, `Infinity`, `Inf` and their
 * negatives are numbers ("JSON conformance" in its REST documentation). JSON.parse knows none of them, so a body that
 * has some is parsed again with the tokens replaced by numbers of the same length that no client can have written.
 * Integers beyond 2^53 are there to the last digit where a tensor needs them. Broken JSON is refused with its position.
 */

import { MalformedBodyError } from "../errors.ts";
import { asObject, bodyText, parseJson } from "../http/json-body.ts";

export type RequestBody = {
  root: Readonly<Record<string, unknown>>;
  /** Whether NaN and infinities in `root` were written as such; else they are numbers too large for a double. */
  hasTokens: boolean;
  /** As `root`, with integers beyond 2^53 as bigints. */
  exact: () => Readonly<Record<string, unknown>>;
};

type ReviverContext = { source?: string };

const TOKENS = ["NaN", "Infinity", "Inf"] as const;

/** Stand-ins, as long as their tokens. An upper-case E marks them: all others are made lower-case before. */
const STAND_INS: Readonly<Record<(typeof TOKENS)[number], string>> = {
  NaN: "0E1",
  Infinity: "0E000002",
  Inf: "0E2",
};

const VALUES: Readonly<Record<string, number>> = {
  "0E1": Number.NaN,
  "-0E1": Number.NaN,
  "0E000002": Number.POSITIVE_INFINITY,
  "-0E000002": Number.NEGATIVE_INFINITY,
  "0E2": Number.POSITIVE_INFINITY,
  "-0E2": Number.NEGATIVE_INFINITY,
};

/** @throws {MalformedBodyError} saying where {InvalidInputError} when it is not an object */
export function parseRequestBody(body: Buffer): RequestBody {
  const text = bodyText(body);
  let root: unknown;
  try {
    root = parseJson(text);
  } catch (error) {
    if (!/NaN|Inf/.test(text)) throw error;
    return withTokens(text);
  }
  return { root: asObject(root, "body"), hasTokens: false, exact: () => asObject(revived(text), "body") };
}

function withTokens(text: string): RequestBody {
  const standard = replaceTokens(text);
  parseJson(standard);
  const root = asObject(revived(standard), "body");
  return { root, hasTokens: true, exact: () => root };
}

/** Parsed text with bigints for large integers and the values that stand-ins stand for. It must be known to be JSON. */
function revived(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown, context?: ReviverContext) => {
    if (typeof value !== "number" || context?.source === undefined) return value;
    const { source } = context;
    if (source in VALUES) return VALUES[source];
    if (!Number.isFinite(value)) throw new MalformedBodyError(`the number ${source} is too large`);
    return Number.isSafeInteger(value) || !/^-?\d+$/.test(source) ? value : BigInt(source);
  });
}

/** The text, equally long, with stand-ins for tokens outside strings. */
function replaceTokens(text: string): string {
  let standard = "";
  let copied = 0;
  const put = (at: number, length: number, replacement: string): void => {
    standard += text.slice(copied, at) + replacement;
    copied = at + length;
  };
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at);
        break;
      case 0x45: // E
        put(at, 1, "e");
        break;
      case 0x49: // I
      case 0x4e: {
        // N
        const token = TOKENS.find((name) => text.startsWith(name, at));
        if (token === undefined) break;
        put(at, token.length, STAND_INS[token]);
        at += token.length - 1;
      }
    }
  }
  return standard + text.slice(copied);
}

/** Position of the quote that closes the string opened at `start`; of the end of the text without one. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x22) return at;
    if (code === 0x5c) at++;
  }
  return text.length;
}
