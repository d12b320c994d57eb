/** Loads TensorFlow.js with its native library from .bench/tfjs; as a script, says whether that works. */

import { createRequire } from "node:module";
import { join } from "node:path";
import util from "node:util";
import type * as Core from "@tensorflow/tfjs-core";
import type * as Layers from "@tensorflow/tfjs-layers";
import { TFJS_DIRECTORY, TFJS_PACKAGE } from "../peers/peers.ts";

export type Tfjs = typeof Core & typeof Layers;

/** @throws {Error} when it is not installed or its native library is missing */
export function loadTfjs(): Tfjs {
  // tfjs-node 4.22 calls this function, which Node 23 removed.
  const target = util as unknown as { isNullOrUndefined?: (value: unknown) => boolean };
  target.isNullOrUndefined ??= (value) => value === null || value === undefined;
  return createRequire(join(TFJS_DIRECTORY, "package.json"))(TFJS_PACKAGE) as Tfjs;
}

if (import.meta.main) console.log(loadTfjs().getBackend());
