/**
 * A declared network: Keras JSON (`model.to_json()`), parsed and checked once by parse-model.ts, and built into any ONNX
 * graph. Weights are named "<layer>/<variable>", those of a nested model "<model>/<layer>/<variable>", and declared
 * once however often their layer is applied.
 */

import { InvalidModelError } from "../errors.ts";
import type { GraphBuilder, Value } from "../onnx/builder.ts";
import type { LayerContext, LayerValue, RandomInput, WeightSpec } from "./layer.ts";
import { applyModel, type Model, type ModelInput } from "./model.ts";
import { inKeras3 } from "./older-dialects.ts";
import { parseModel } from "./parse-model.ts";

export type Network = Model & { inputs: ModelInput[] };

/** What building a network into a graph gives besides its nodes. */
export type BuiltNetwork = {
  /** In the order of `network.outputs`. */
  outputs: readonly LayerValue[];
  weights: WeightSpec[];
  /** Next values of weights that layers update themselves, by weight name. */
  updates: Map<string, Value>;
  randomInputs: RandomInput[];
  /** What ids have to be below, by the name of the value that holds them. */
  idLimits: ReadonlyMap<string, number>;
  /** Each appends a scalar that is to be added to the loss, if it has one. */
  penalties: (() => Value | undefined)[];
};

/** @throws {InvalidModelError} {UnknownLayerError} {UnknownComponentError} naming what is wrong and where */
export function parseNetwork(architecture: unknown): Network {
  const model = parseModel(inKeras3(architecture), "architecture");
  if (!model.inputs)
    throw new InvalidModelError(
      `layer '${model.layers[0]!.name}'`,
      "the first layer must state its input as batch_shape [null, ...sizes]",
    );
  return { ...model, inputs: model.inputs };
}

/**
 * Appends the network's nodes to `graph`, fed by `inputs` in the order of `network.inputs` ([batch, ...shape] each).
 * `weightValue` gives the graph value of each weight; it is asked once for each.
 */
export function buildNetwork(
  network: Network,
  graph: GraphBuilder,
  inputs: readonly Value[],
  options: { training: boolean; weightValue: (spec: WeightSpec) => Value },
): BuiltNetwork {
  const build = new Build(graph, options);
  const context = build.context([], network.frozen);
  const outputs = applyModel(
    network,
    context,
    inputs.map((value) => ({ value })),
  );
  const { weights, updates, randomInputs, idLimits, penalties } = build;
  return { outputs, weights, updates, randomInputs, idLimits, penalties };
}

/** Shared models inside shared models multiply: a short declaration could ask for any number of layers. */
const MAX_APPLICATIONS = 50_000;

type Declared = { spec: WeightSpec; owner: string; current: Value };

class Build {
  readonly weights: WeightSpec[] = [];
  readonly updates = new Map<string, Value>();
  readonly randomInputs: RandomInput[] = [];
  readonly idLimits = new Map<string, number>();
  readonly penalties: (() => Value | undefined)[] = [];
  private applications = 0;
  private readonly graph: GraphBuilder;
  private readonly training: boolean;
  private readonly weightValue: (spec: WeightSpec) => Value;
  private readonly declared = new Map<string, Declared>();
  private readonly ofValue = new Map<string, Declared>();

  constructor(
    graph: GraphBuilder,
    { training, weightValue }: { training: boolean; weightValue: (spec: WeightSpec) => Value },
  ) {
    this.graph = graph;
    this.training = training;
    this.weightValue = weightValue;
  }

  context(path: readonly string[], frozen: boolean): LayerContext {
    const layerName = path.join("/");
    return {
      graph: this.graph,
      training: this.training,
      frozen,
      layerName,
      within: (name, options) => {
        if (++this.applications > MAX_APPLICATIONS)
          throw new InvalidModelError(
            "architecture",
            `layers are applied more than ${MAX_APPLICATIONS} times`,
          );
        return this.context([...path, name], frozen || options?.frozen === true);
      },
      weight: (spec) =>
        this.weight(
          { ...spec, name: `${layerName}/${spec.name}`, trainable: spec.trainable && !frozen },
          JSON.stringify([...path, spec.name]),
        ),
      updateWeight: (weight, next) => this.update(weight, next),
      limitIds: ({ name }, rows) =>
        this.idLimits.set(name, Math.min(rows, this.idLimits.get(name) ?? Number.POSITIVE_INFINITY)),
      penalise: (penalty) => this.penalties.push(penalty),
      random: (draw, shape) => {
        const value = this.graph.input(
          `${layerName}/${draw.kind}`,
          draw.kind === "keep" ? "BOOL" : "FP32",
          shape,
        );
        this.randomInputs.push({ ...draw, name: value.name, shape });
        return value;
      },
    };
  }

  private weight(spec: WeightSpec, owner: string): Value {
    const known = this.declared.get(spec.name);
    if (known) {
      if (known.owner !== owner)
        throw new InvalidModelError(`weight '${spec.name}'`, "two weights have this name");
      if (known.spec.shape.join() !== spec.shape.join())
        throw new InvalidModelError(
          `weight '${spec.name}'`,
          `this input needs [${spec.shape.join(",")}], another application of the layer [${known.spec.shape.join(",")}]`,
        );
      return known.current;
    }
    const made = { spec, owner, current: this.weightValue(spec) };
    this.weights.push(spec);
    this.declared.set(spec.name, made);
    this.ofValue.set(made.current.name, made);
    const { regularizer, trainable, order } = spec;
    const { current } = made;
    if (regularizer && trainable) this.penalties.push(() => regularizer(this.graph, current, order));
    return current;
  }

  /** A later application of the same layer goes on from `next`, as assignments in Keras do. */
  private update(weight: Value, next: Value): void {
    const declared = this.ofValue.get(weight.name);
    if (!declared) throw new InvalidModelError(`value '${weight.name}'`, "it is no weight of the network");
    declared.current = next;
    this.ofValue.set(next.name, declared);
    this.updates.set(declared.spec.name, next);
  }
}
