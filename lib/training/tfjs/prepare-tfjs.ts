/** From a training specification to the engine "tfjs": what it cannot train is refused before any data is read. */

import type { LayersModel } from "@tensorflow/tfjs-layers";
import { errorMessage, InvalidModelError } from "../../errors.ts";
import type { MakeEngine } from "../step-engine.ts";
import { type LoadedTfjs, loadTfjs, type Tfjs } from "./load-tfjs.ts";
import { MaskSource, registerOwnLayers } from "./own-layers.ts";
import { readForTfjs, type TfjsSpec } from "./read-for-tfjs.ts";
import { TfjsEngine } from "./tfjs-engine.ts";

/** @throws {InvalidInputError} when no TensorFlow.js is installed; what readForTfjs throws */
export async function prepareTfjs(
  spec: TfjsSpec,
  load: () => Promise<LoadedTfjs> = loadTfjs,
): Promise<{ engine: MakeEngine; loaded: LoadedTfjs }> {
  const { topology, activations, losses, optimizer } = readForTfjs(spec);
  const loaded = await load();
  const { tf } = loaded;
  const masks = new MaskSource(spec.seed);
  registerOwnLayers(tf, masks);
  const model = await build(tf, topology);
  const engine: MakeEngine = (options, examples) =>
    new TfjsEngine({ tf, model, activations, losses, optimizer, masks }, options, examples);
  return { engine, loaded };
}

/** Layers may refuse shapes that only they know of. @throws {InvalidModelError} */
async function build(tf: Tfjs, modelTopology: object): Promise<LayersModel> {
  try {
    return await tf.loadLayersModel({ load: async () => ({ modelTopology }) });
  } catch (error) {
    throw new InvalidModelError(
      'architecture for the engine "tfjs"',
      `TensorFlow.js cannot build it (${errorMessage(error)}); engine "onnx" may`,
    );
  }
}
