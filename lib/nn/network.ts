/**
 * A declared network: Keras JSON (`model.to_json()`), parsed and checked once, and built into any ONNX graph.
 * Dialects: Keras 3 (`batch_shape`), Keras 2 (`batch_input_shape`), TensorFlow.js (`batchInputShape`).
 */

import { InvalidModelError, UnknownComponentError, UnknownLayerError } from "../errors.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import type { KerasObject } from "../protocol/jobs.ts";
import { ConfigReader, kerasObject } from "./config-reader.ts";
import type { ApplyLayer, LayerContext, LayerValue, RandomInput, WeightSpec } from "./layer.ts";
import { LAYERS } from "./layers/table.ts";
import { nearest } from "./nearest.ts";

export type Network = {
  name: string;
  input: { name: string /** Without the batch dimension. */; shape: number[] };
  layers: { name: string; className: string; apply: ApplyLayer }[];
};

/** What building a network into a graph gives besides its nodes. */
export type BuiltNetwork = {
  output: LayerValue;
  weights: WeightSpec[];
  /** Next values of weights that layers update themselves, by weight name. */
  updates: Map<string, Value>;
  randomInputs: RandomInput[];
};

/** @throws {InvalidModelError} {UnknownLayerError} {UnknownComponentError} naming what is wrong and where */
export function parseNetwork(architecture: unknown): Network {
  const model = kerasObject(architecture, "architecture");
  if (model.class_name !== "Sequential")
    throw new UnknownComponentError(
      "model class",
      model.class_name,
      nearest(model.class_name, ["Sequential"]),
      ["Sequential"],
    );
  const config = model.config as { name?: unknown; layers?: unknown };
  if (!Array.isArray(config.layers) || config.layers.length === 0)
    throw new InvalidModelError("architecture.config.layers", "expected a non-empty list of layers");

  const declared = config.layers.map((layer, i) => kerasObject(layer, `architecture.config.layers[${i}]`));
  const { input, rest } = takeInput(declared);
  const names = new Set<string>();
  const layers = rest.map(({ class_name: className, config: layerConfig }) => {
    const definition = Object.hasOwn(LAYERS, className) ? LAYERS[className] : undefined;
    if (!definition) {
      const known = Object.keys(LAYERS);
      throw new UnknownLayerError(className, nearest(className, known), known);
    }
    const name = uniqueName(layerConfig.name, className, names);
    const reader = new ConfigReader(`layer '${name}'`, layerConfig);
    reader.ignore(
      "name",
      "batch_input_shape",
      "batch_shape",
      "input_shape",
      "sparse",
      "ragged",
      "module",
      "registered_name",
      "build_config",
    );
    // A frozen layer would be trained in silence.
    reader.unset("trainable", true);
    checkPrecision(reader);
    const apply = definition(reader);
    reader.done();
    return { name, className, apply };
  });
  if (layers.length === 0)
    throw new InvalidModelError("architecture.config.layers", "there is no layer after the input");
  return { name: typeof config.name === "string" ? config.name : "model", input, layers };
}

function takeInput(declared: KerasObject[]): { input: Network["input"]; rest: KerasObject[] } {
  const first = declared[0]!;
  const isInput = first.class_name === "InputLayer";
  const config = first.config as Record<string, unknown>;
  const shape = config.batch_shape ?? config.batch_input_shape ?? config.batchInputShape ?? config.batchShape;
  if (!Array.isArray(shape) || shape.length < 2)
    throw new InvalidModelError(
      `layer '${String(config.name ?? first.class_name)}'`,
      `the first layer must state its input as batch_shape [null, ...sizes]; received ${JSON.stringify(shape)}`,
    );
  const sizes = shape.slice(1);
  if (!sizes.every((size): size is number => Number.isSafeInteger(size) && size > 0))
    throw new InvalidModelError(
      "input shape",
      `every size but the batch must be known; received ${JSON.stringify(shape)}`,
    );
  const name = isInput && typeof config.name === "string" ? config.name : "input";
  return { input: { name, shape: sizes }, rest: isInput ? declared.slice(1) : declared };
}

function uniqueName(given: unknown, className: string, names: Set<string>): string {
  const stem =
    typeof given === "string" && given !== ""
      ? given
      : className
          .replace(/(.)([A-Z][a-z]+)/g, "$1_$2")
          .replace(/([a-z])([A-Z])/g, "$1_$2")
          .toLowerCase();
  if (given !== undefined && names.has(stem))
    throw new InvalidModelError(`layer '${stem}'`, "two layers have this name");
  let name = stem;
  for (let i = 1; names.has(name); i++) name = `${stem}_${i}`;
  names.add(name);
  return name;
}

/** Moiety trains in float32; a policy for another precision would be ignored otherwise. */
function checkPrecision(reader: ConfigReader): void {
  const dtype = reader.raw("dtype");
  const name = typeof dtype === "object" ? (dtype as { config?: { name?: unknown } }).config?.name : dtype;
  if (name !== undefined && name !== "float32") reader.refuse("dtype", name, "float32");
}

/**
 * Appends the network's nodes to `graph`, fed by `input` ([batch, ...input.shape]).
 * `weightValue` gives the graph value of each weight the first time it is asked for.
 */
export function buildNetwork(
  network: Network,
  graph: GraphBuilder,
  input: Value,
  options: { training: boolean; weightValue: (spec: WeightSpec) => Value },
): BuiltNetwork {
  const weights: WeightSpec[] = [];
  const specOf = new Map<string, string>();
  const updates = new Map<string, Value>();
  const randomInputs: RandomInput[] = [];
  let current: LayerValue = { value: input };

  for (const layer of network.layers) {
    const context: LayerContext = {
      graph,
      training: options.training,
      layerName: layer.name,
      weight(spec) {
        const named = { ...spec, name: `${layer.name}/${spec.name}` };
        weights.push(named);
        const value = options.weightValue(named);
        specOf.set(value.name, named.name);
        return value;
      },
      updateWeight(weight, next) {
        updates.set(specOf.get(weight.name)!, next);
      },
      random(kind, shape, rate) {
        const value = graph.input(`${layer.name}/${kind}`, "BOOL", shape);
        randomInputs.push({ name: value.name, kind, rate, shape });
        return value;
      },
    };
    try {
      current = layer.apply(context, [current]);
    } catch (error) {
      if (error instanceof InvalidModelError)
        throw new InvalidModelError(`layer '${layer.name}' (${layer.className})`, error.message);
      throw error;
    }
  }
  return { output: current, weights, updates, randomInputs };
}
