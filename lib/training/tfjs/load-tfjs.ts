/**
 * The TensorFlow.js that is installed: with its native library on a GPU, with it on the processor, or the pure
 * JavaScript one, which is slow. They are optional: the first that can be loaded is taken, and why the quicker ones
 * could not be is kept to be said.
 */

import { createRequire } from "node:module";
import util from "node:util";
import type * as Core from "@tensorflow/tfjs-core";
import type * as Layers from "@tensorflow/tfjs-layers";
import { errorMessage, InvalidInputError } from "../../errors.ts";

export type Tfjs = typeof Core & typeof Layers;

export type LoadedTfjs = {
  tf: Tfjs;
  /** The package and its backend: "@tensorflow/tfjs-node 4.22.0 (tensorflow)". */
  name: string;
  /** Whether it computes in JavaScript. */
  slow: boolean;
  /** Why each package before it was not taken. */
  passedOver: string[];
};

type Candidate = { packages: readonly string[]; slow: boolean };

const CANDIDATES: readonly Candidate[] = [
  { packages: ["@tensorflow/tfjs-node-gpu"], slow: false },
  { packages: ["@tensorflow/tfjs-node"], slow: false },
  { packages: ["@tensorflow/tfjs"], slow: true },
  {
    packages: ["@tensorflow/tfjs-core", "@tensorflow/tfjs-backend-cpu", "@tensorflow/tfjs-layers"],
    slow: true,
  },
];

/** @param load gives a package by its name; for tests. @throws {InvalidInputError} naming what to install */
export async function loadTfjs(load: (name: string) => unknown = required): Promise<LoadedTfjs> {
  const passedOver: string[] = [];
  for (const { packages, slow } of CANDIDATES) {
    try {
      const modules = packages.map((name) => {
        if (name.startsWith("@tensorflow/tfjs-node")) supplyRemovedFunctions();
        return load(name) as object;
      });
      const tf = Object.assign({}, ...modules) as Tfjs;
      // Without it, TensorFlow.js prints advice to the console.
      tf.enableProdMode();
      await tf.ready();
      const { version_core: version } = tf;
      return { tf, name: `${packages[0]} ${version} (${tf.getBackend()})`, slow, passedOver };
    } catch (error) {
      passedOver.push(`${packages.join(" + ")}: ${errorMessage(error).split("\n")[0]!.trim()}`);
    }
  }
  throw new InvalidInputError({
    field: "engine",
    received: `"tfjs", for which no package can be loaded here (${passedOver.join("; ")})`,
    expected: '"onnx"; or install @tensorflow/tfjs-node, or @tensorflow/tfjs where that has no build',
  });
}

function required(name: string): unknown {
  return createRequire(import.meta.url)(name);
}

/** tfjs-node 4.22 calls a function of `util` that Node 23 removed. */
function supplyRemovedFunctions(): void {
  const target = util as unknown as { isNullOrUndefined?: (value: unknown) => boolean };
  target.isNullOrUndefined ??= (value) => value === null || value === undefined;
}
