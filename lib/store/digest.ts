/** Artifact digests: `sha256:` and 64 hex digits, as OCI registries write them. Hashing runs off the event loop. */

import { createHash, webcrypto } from "node:crypto";
import { InvalidInputError } from "../errors.ts";

const DIGEST = /^sha256:[0-9a-f]{64}$/;
/** Below it, hashing here is quicker than handing the bytes to another thread. */
const INLINE_BYTES = 64 * 1024;

export async function digestOf(bytes: Uint8Array): Promise<string> {
  if (bytes.byteLength <= INLINE_BYTES) return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  const hash = await webcrypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return `sha256:${Buffer.from(hash).toString("hex")}`;
}

/** The 64 hex digits of a digest. @throws {InvalidInputError} */
export function hexOf(digest: string): string {
  if (typeof digest !== "string" || !DIGEST.test(digest))
    throw new InvalidInputError({
      field: "digest",
      received: JSON.stringify(digest) ?? "undefined",
      expected: "sha256: and 64 hex digits",
    });
  return digest.slice("sha256:".length);
}
