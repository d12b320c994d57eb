/**
 * A model, parsed: layers, the order in which they are applied and to what. Any graph of layers, with any number of
 * inputs and outputs.
 */

import { InvalidModelError } from "../errors.ts";
import type { Value } from "../onnx/builder.ts";
import { ONNX_TYPE } from "../onnx/proto.ts";
import { type DeclaredLayer, kerasShape, type LayerContext, type LayerValue } from "./layer.ts";
import { KEEPS_MASK, TAKES_INTEGERS } from "./layers/table.ts";

export type ModelInput = {
  name: string;
  /** Without the batch dimension. */
  shape: number[];
  /** INT32 where the model declares whole numbers (token ids); layers that work on floats get them as FP32. */
  datatype: "FP32" | "INT32";
};

/**
 * A tensor of the model: output `output` of value `from`. Values 0 to inputs - 1 are the model's inputs, value
 * inputs + i is what step i gives.
 */
export type ValueRef = { from: number; output: number };

export type ModelStep = {
  layer: DeclaredLayer;
  inputs: readonly ValueRef[];
  tensors: ReadonlyMap<string, readonly ValueRef[]>;
  options: ReadonlyMap<string, unknown>;
};

export type Model = {
  name: string;
  /** Undefined when the model does not say: a Sequential inside another model, which takes one. */
  inputs: ModelInput[] | undefined;
  frozen: boolean;
  layers: DeclaredLayer[];
  /** Applications in order. */
  steps: ModelStep[];
  outputs: (ValueRef & { /** Unique among the outputs. */ name: string })[];
};

/** Appends the model's nodes; gives its outputs. @throws {InvalidModelError} naming the layer whose input does not fit */
export function applyModel(
  model: Model,
  context: LayerContext,
  inputs: readonly LayerValue[],
): readonly LayerValue[] {
  const expected = model.inputs?.length ?? 1;
  if (inputs.length !== expected)
    throw new InvalidModelError(
      "input",
      `the model takes ${expected} tensor${expected === 1 ? "" : "s"}, received ${inputs.length}`,
    );
  model.inputs?.forEach(({ name, shape }, i) => {
    const [, ...sizes] = kerasShape(inputs[i]!);
    if (shape.join() !== sizes.join())
      throw new InvalidModelError(
        expected === 1 ? "input" : `input '${name}'`,
        `the model takes [batch,${shape.join(",")}], received [batch,${sizes.join(",")}]`,
      );
  });
  const values: (readonly LayerValue[])[] = inputs.map((input) => [input]);
  const read = (reference: ValueRef): LayerValue => {
    const given = values[reference.from]!;
    const value = given[reference.output];
    if (value) return value;
    const { from, output } = reference;
    const name = from < expected ? model.inputs?.[from]?.name : model.steps[from - expected]!.layer.name;
    throw new InvalidModelError(
      `output ${output} of layer '${name ?? "input"}'`,
      `there is none: the layer gives ${given.length}`,
    );
  };
  for (const { layer, inputs: references, tensors, options } of model.steps) {
    try {
      const inner = context.within(layer.name, { frozen: layer.frozen });
      const integers = TAKES_INTEGERS.has(layer.className);
      const taken = references.map((reference) => {
        const value = read(reference);
        return integers ? value : asFloats(inner, value);
      });
      const named = new Map([...tensors].map(([name, list]) => [name, list.map(read)]));
      // Masks given in the call take the place of those that came with the inputs.
      for (const [i, counts] of (named.get("mask") ?? []).entries()) {
        const input = taken[i];
        if (!input) throw new InvalidModelError("mask", `received more than the ${taken.length} inputs`);
        taken[i] = { ...input, mask: asMask(inner, counts, input) };
      }
      const given = layer.apply(inner, taken, { tensors: named, options });
      const outputs: readonly LayerValue[] = Array.isArray(given) ? given : [given];
      context.gave?.(inner.layerName, outputs);
      const mask = KEEPS_MASK.has(layer.className) ? taken[0]?.mask : undefined;
      values.push(mask ? outputs.map((output) => ({ mask, ...output })) : outputs);
    } catch (error) {
      if (error instanceof InvalidModelError)
        throw new InvalidModelError(`layer '${layer.name}' (${layer.className})`, error.message);
      throw error;
    }
  }
  return model.outputs.map(read);
}

function asMask({ graph }: LayerContext, counts: LayerValue, input: LayerValue): Value {
  const [batch, steps] = kerasShape(input);
  const { value } = counts;
  if (value.shape.join() !== `${batch},${steps}`)
    throw new InvalidModelError("mask", `received [${value.shape.join(",")}], expected [${batch},${steps}]`);
  return value.datatype === "BOOL" ? value : graph.op("Cast", [value], { to: ONNX_TYPE.BOOL });
}

function asFloats({ graph }: LayerContext, given: LayerValue): LayerValue {
  if (given.value.datatype === "FP32") return given;
  return { ...given, value: graph.op("Cast", [given.value], { to: ONNX_TYPE.FP32 }) };
}
