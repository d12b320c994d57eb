/**
 * The variables of a TensorFlow.js model, in the order of Moiety's weights, and their values as flat vectors in the
 * layout that everything else keeps them in. TensorFlow.js has Keras's order of axes.
 */

import type * as Core from "@tensorflow/tfjs-core";
import type { LayersModel } from "@tensorflow/tfjs-layers";
import { InvalidModelError } from "../../errors.ts";
import type { WeightSpec } from "../../nn/layer.ts";
import { inMemoryOrder, kerasWeightShape } from "../../nn/weight-order.ts";
import type { WeightLayout } from "../weight-layout.ts";
import type { Tfjs } from "./load-tfjs.ts";

/** The model's variable for each weight. @throws {InvalidModelError} when the two have not the same weights */
export function variablesOf(model: LayersModel, specs: readonly WeightSpec[]): Core.Variable[] {
  const found = new Map<string, Core.Variable>();
  for (const layer of model.layers) {
    const own = specs.filter(({ name }) => name.startsWith(`${layer.name}/`));
    const variables = layer.weights.map((weight) => ({
      name: `${layer.name}/${weight.originalName.split("/").at(-1)}`,
      variable: weight.read() as Core.Variable,
    }));
    const named = own.every((spec) => variables.some(({ name }) => name === spec.name));
    // Where the names of a layer's variables differ, their order does not.
    own.forEach((spec, i) => {
      const match = named ? variables.find(({ name }) => name === spec.name) : variables[i];
      if (match) found.set(spec.name, match.variable);
    });
  }
  return specs.map((spec) => {
    const variable = found.get(spec.name);
    const expected = kerasWeightShape(spec).join();
    if (variable?.shape.join() === expected) return variable;
    throw new InvalidModelError(
      `weight '${spec.name}'`,
      `TensorFlow.js has ${variable ? `[${variable.shape.join(",")}]` : "none"}, expected [${expected}]`,
    );
  });
}

/** The values of variables as the layout has them; a copy. */
export function flatOf(
  variables: readonly Core.Variable[],
  specs: readonly WeightSpec[],
  { size, slices }: WeightLayout,
): Float32Array {
  const flat = new Float32Array(size);
  for (const [i, variable] of variables.entries())
    flat.set(inMemoryOrder(variable.dataSync() as Float32Array, specs[i]!), slices[i]!.offset);
  return flat;
}

/** Sets variables to the values of a flat vector. */
export function assignFlat(
  tf: Tfjs,
  variables: readonly Core.Variable[],
  specs: readonly WeightSpec[],
  { slices }: WeightLayout,
  flat: Float32Array,
): void {
  tf.tidy(() => {
    for (const [i, variable] of variables.entries()) {
      const { offset, size } = slices[i]!;
      const values = fromMemoryOrder(flat.slice(offset, offset + size), specs[i]!);
      variable.assign(tf.tensor(values, variable.shape));
    }
  });
}

/** The other way round: what lies in memory's order of axes, in Keras's. */
function fromMemoryOrder(values: Float32Array, spec: WeightSpec): Float32Array {
  const { order } = spec;
  if (!order) return values;
  return inMemoryOrder(values, {
    shape: kerasWeightShape(spec),
    order: order.map((_, i) => order.indexOf(i)),
  });
}
