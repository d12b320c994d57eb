/**
 * Puts the applications of a functional model's layers in the order in which they are computed, every one after
 * those it reads. It is Keras's order (`map_graph` of its functional models: by distance from the output, then by
 * traversal), because the moving statistics of a shared BatchNormalization depend on which application comes first.
 *
 * Refuses layers and applications that are named and missing, cycles, and what leads to no output.
 */

import { InvalidModelError } from "../errors.ts";
import type { Dialect, TensorRef } from "./inbound-nodes.ts";
import { nearest } from "./nearest.ts";

export type WiredLayer = {
  name: string;
  /** The inputs of each application; none for the input layer. */
  applications: TensorRef[][];
  isInput: boolean;
  /** Whether the layer is a model itself, and of which kind. */
  nested?: "Sequential" | "Functional";
};

/** One application: `layer` by its place among the layers, `inputs` by their places in the order. */
export type OrderedApplication = { layer: number; inputs: number[] };

type Application = { layer: number; refs: TensorRef[]; state: "new" | "open" | "done" };

/**
 * The applications in order, the input layer first; the output's place in it.
 * @throws {InvalidModelError} naming the layer
 */
export function orderApplications(
  layers: readonly WiredLayer[],
  output: TensorRef,
  dialect: Dialect,
): { order: OrderedApplication[]; output: number } {
  const places = new Map(layers.map(({ name }, i) => [name, i]));
  const applications = layers.map(({ applications: declared, isInput }, layer) =>
    (isInput ? [[]] : declared).map((refs): Application => ({ layer, refs, state: "new" })),
  );
  for (const { name, isInput, applications: declared } of layers)
    if (!isInput && (declared.length === 0 || declared.some((refs) => refs.length === 0)))
      throw new InvalidModelError(`layer '${name}'`, "its inbound_nodes are empty: it is applied to nothing");
  const first = firstNumbers(layers, output, dialect);

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
  const parentsOf = (node: Application) =>
    node.refs.map((ref) => resolve(ref, `layer '${layers[node.layer]!.name}'`));

  const last = resolve(output, "output_layers", firstOfOutput(layers, output, dialect, first));
  const traversed = traverse(last, parentsOf, (node) => `layer '${layers[node.layer]!.name}'`);
  applications.flat().forEach((node) => {
    if (node.state === "new")
      throw new InvalidModelError(`layer '${layers[node.layer]!.name}'`, "it leads to no output");
  });

  const ordered = byDepth(traversed, parentsOf);
  const place = new Map(ordered.map((node, i) => [node, i]));
  return {
    order: ordered.map((node) => ({
      layer: node.layer,
      inputs: parentsOf(node).map((parent) => place.get(parent)!),
    })),
    output: place.get(last)!,
  };
}

/**
 * From which number inbound_nodes count the applications of each nested model. Keras 3: from 0. Keras 2: from 1 where
 * the model had an application of its own (its input to its output), which depends on the version and the kind of
 * model; every application that is written is read by some layer, so the lowest number read is the first.
 */
function firstNumbers(
  layers: readonly WiredLayer[],
  output: TensorRef,
  dialect: Dialect,
): Map<string, number> {
  const lowest = new Map<string, number>();
  if (dialect === "Keras 3") return lowest;
  for (const { layer, application } of [...layers.flatMap((l) => l.applications.flat()), output])
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
