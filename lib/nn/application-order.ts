/**
 * Puts the applications of a functional model's layers in the order in which they are computed, every one after
 * those it reads. It is Keras's order (`map_graph` of its functional models: by distance from the output, then by
 * traversal), because the moving statistics of a shared BatchNormalization depend on which application comes first.
 *
 * Refuses layers and applications that are named and missing, cycles, and what leads to no output.
 */

import { InvalidModelError } from "../errors.ts";
import type { Dialect, InboundNode, TensorRef } from "./inbound-nodes.ts";
import type { ValueRef } from "./model.ts";
import { nearest } from "./nearest.ts";

export type WiredLayer = {
  name: string;
  /** Each application; none for an input layer. */
  applications: InboundNode[];
  /** Place among the model's inputs, for an input layer. */
  input?: number;
  /** Whether the layer is a model itself, and of which kind. */
  nested?: "Sequential" | "Functional";
};

/** One application: `layer` by its place among the layers. */
export type OrderedApplication = {
  layer: number;
  inputs: ValueRef[];
  tensors: Map<string, ValueRef[]>;
  options: Map<string, unknown>;
};

type Application = {
  layer: number;
  node: InboundNode;
  input: number | undefined;
  state: "new" | "open" | "done";
};

/**
 * The applications in order, without the input layers, and what the model's outputs are.
 * @throws {InvalidModelError} naming the layer
 */
export function orderApplications(
  layers: readonly WiredLayer[],
  outputs: readonly TensorRef[],
  dialect: Dialect,
): { order: OrderedApplication[]; outputs: ValueRef[] } {
  const places = new Map(layers.map(({ name }, i) => [name, i]));
  const applications = layers.map(({ applications: declared, input }, layer) =>
    (input === undefined ? declared : [NOTHING]).map(
      (node): Application => ({ layer, node, input, state: "new" }),
    ),
  );
  for (const { name, input, applications: declared } of layers)
    if (input === undefined && (declared.length === 0 || declared.some((node) => refsOf(node).length === 0)))
      throw new InvalidModelError(`layer '${name}'`, "its inbound_nodes are empty: it is applied to nothing");
  const first = firstNumbers(layers, outputs, dialect);

  const resolve = (ref: TensorRef, reader: string, from = first.get(ref.layer) ?? 0): Application => {
    const place = places.get(ref.layer);
    if (place === undefined) {
      const hint = nearest(ref.layer, [...places.keys()]);
      throw new InvalidModelError(
        reader,
        `there is no layer '${ref.layer}'${hint ? `; did you mean '${hint}'?` : ""}`,
      );
    }
    const found = applications[place]![ref.application - from];
    if (!found)
      throw new InvalidModelError(
        reader,
        `reads application ${ref.application} of layer '${ref.layer}', which has ${applications[place]!.length}`,
      );
    return found;
  };
  const describe = ({ layer }: Application) => `layer '${layers[layer]!.name}'`;
  const parentsOf = (application: Application) =>
    refsOf(application.node).map((ref) => resolve(ref, describe(application)));

  const last = outputs.map((output) =>
    resolve(output, "output_layers", firstOfOutput(layers, output, dialect, first)),
  );
  const traversed = last.flatMap((application) =>
    application.state === "new" ? traverse(application, parentsOf, describe) : [],
  );
  applications.flat().forEach((application) => {
    if (application.state === "new")
      throw new InvalidModelError(describe(application), "it leads to no output");
  });

  const inputCount = layers.filter(({ input }) => input !== undefined).length;
  const ordered = byDepth(traversed, parentsOf).filter(({ input }) => input === undefined);
  const place = new Map(ordered.map((application, i) => [application, inputCount + i]));
  const placeOf = (application: Application) => application.input ?? place.get(application)!;
  return {
    order: ordered.map((application) => {
      const { inputs, tensors, options } = application.node;
      const refer = (ref: TensorRef): ValueRef => ({
        from: placeOf(resolve(ref, describe(application))),
        output: ref.output,
      });
      return {
        layer: application.layer,
        inputs: inputs.map(refer),
        tensors: new Map([...tensors].map(([name, refs]) => [name, refs.map(refer)])),
        options,
      };
    }),
    outputs: last.map((application, i) => ({ from: placeOf(application), output: outputs[i]!.output })),
  };
}

const NOTHING: InboundNode = { inputs: [], tensors: new Map(), options: new Map() };

/** Every tensor an application reads, in Keras's order. */
function refsOf({ inputs, tensors }: InboundNode): TensorRef[] {
  return [...inputs, ...[...tensors.values()].flat()];
}

/**
 * From which number inbound_nodes count the applications of each nested model. Keras 3: from 0. Keras 2: from 1 where
 * the model had an application of its own (its input to its output), which depends on the version and the kind of
 * model; every application that is written is read by some layer, so the lowest number read is the first.
 */
function firstNumbers(
  layers: readonly WiredLayer[],
  outputs: readonly TensorRef[],
  dialect: Dialect,
): Map<string, number> {
  const lowest = new Map<string, number>();
  if (dialect === "Keras 3") return lowest;
  for (const { layer, application } of [...layers.flatMap((l) => l.applications.flatMap(refsOf)), ...outputs])
    lowest.set(layer, Math.min(lowest.get(layer) ?? application, application));
  return new Map(layers.flatMap(({ name, nested }) => (nested && lowest.get(name) === 1 ? [[name, 1]] : [])));
}

/** Keras 3 counts the applications of a functional model from 1 in output_layers, and only there. */
function firstOfOutput(
  layers: readonly WiredLayer[],
  output: TensorRef,
  dialect: Dialect,
  first: ReadonlyMap<string, number>,
): number {
  if (dialect === "Keras 2") return first.get(output.layer) ?? 0;
  return layers.find(({ name }) => name === output.layer)?.nested === "Functional" ? 1 : 0;
}

/** Depth first from the output: every application after those it reads. */
function traverse(
  last: Application,
  parentsOf: (node: Application) => Application[],
  describe: (node: Application) => string,
): Application[] {
  const finished: Application[] = [];
  const open = (node: Application) => {
    node.state = "open";
    return { node, parents: parentsOf(node), next: 0 };
  };
  const stack = [open(last)];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const parent = top.parents[top.next++];
    if (parent?.state === "open") throw new InvalidModelError(describe(parent), "it is part of a cycle");
    if (parent?.state === "new") stack.push(open(parent));
    if (parent) continue;
    top.node.state = "done";
    finished.push(top.node);
    stack.pop();
  }
  return finished;
}

/** Farthest from the output first; applications of one layer count as far as its farthest, as in Keras. */
function byDepth(traversed: Application[], parentsOf: (node: Application) => Application[]): Application[] {
  const depths = new Map<Application, number>();
  const layerDepths = new Map<number, number>();
  for (const node of traversed.toReversed()) {
    const depth = Math.max(depths.get(node) ?? 0, layerDepths.get(node.layer) ?? 0);
    layerDepths.set(node.layer, depth);
    depths.set(node, depth);
    for (const parent of parentsOf(node)) depths.set(parent, Math.max(depth + 1, depths.get(parent) ?? 0));
  }
  return [...depths.keys()].sort((a, b) => depths.get(b)! - depths.get(a)!);
}
