/**
 * A model, parsed: layers, the order in which they are applied and to what. A model has one input and one output,
 * because the data that trains it is one tensor; within it any graph of layers is fine.
 */

import { InvalidModelError } from "../errors.ts";
import { type ApplyLayer, kerasShape, type LayerContext, type LayerValue } from "./layer.ts";

export type DeclaredLayer = { name: string; className: string; frozen: boolean; apply: ApplyLayer };

export type ModelInput = { name: string /** Without the batch dimension. */; shape: number[] };

export type Model = {
  name: string;
  /** Undefined when the model does not say: a Sequential inside another model. */
  input: ModelInput | undefined;
  frozen: boolean;
  layers: DeclaredLayer[];
  /** Applications in order. Value 0 is the model's input, value i + 1 is what step i gives. */
  steps: { layer: DeclaredLayer; inputs: number[] }[];
  /** The value that is the model's output; never 0. */
  output: number;
};

/** Appends the model's nodes. @throws {InvalidModelError} naming the layer whose input does not fit */
export function applyModel(model: Model, context: LayerContext, input: LayerValue): LayerValue {
  const [, ...sizes] = kerasShape(input);
  if (model.input && model.input.shape.join() !== sizes.join())
    throw new InvalidModelError(
      "input",
      `the model takes [batch,${model.input.shape.join(",")}], received [batch,${sizes.join(",")}]`,
    );
  const values = [input];
  for (const { layer, inputs } of model.steps) {
    try {
      const inner = context.within(layer.name, { frozen: layer.frozen });
      values.push(
        layer.apply(
          inner,
          inputs.map((i) => values[i]!),
        ),
      );
    } catch (error) {
      if (error instanceof InvalidModelError)
        throw new InvalidModelError(`layer '${layer.name}' (${layer.className})`, error.message);
      throw error;
    }
  }
  return values[model.output]!;
}
