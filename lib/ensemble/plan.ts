/**
 * What is run for an ensemble: its models, and its operators in as few graphs as possible. Operator steps that are
 * connected and wait for the same models become one graph: none of them then waits for a model that it does not need.
 */

import { InvalidModelError } from "../errors.ts";
import type { Ensemble, EnsembleStep, ModelStep, OperatorStep } from "../protocol/ensembles.ts";
import type { TensorSpec } from "../tensor/tensor.ts";
import { stepOrder, stepsBefore, wiringOf } from "./dataflow.ts";
import { buildOperators, type OperatorGraph } from "./operator-graph.ts";
import { type SignatureOf, typesOf } from "./typing.ts";

/** One run: what it reads and writes are names of the ensemble's tensors. */
export type PlanNode = { name: string; reads: string[]; writes: string[] } & (
  | { kind: "model"; step: ModelStep }
  | { kind: "operators"; graph: OperatorGraph }
);

export type Plan = {
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  /** Each after those whose tensors it reads. */
  nodes: PlanNode[];
};

/**
 * @throws {InvalidModelError} where steps do not fit together, or operators read what a model gives whose signature is
 * not known
 */
export function planEnsemble(ensemble: Ensemble, signatureOf: SignatureOf): Plan {
  const types = typesOf(ensemble, signatureOf);
  const groups = groupsOf(ensemble);
  const nodes = groups.map((steps) => nodeOf(steps, ensemble, types));
  return { inputs: ensemble.inputs, outputs: ensemble.outputs, nodes: inOrder(nodes) };
}

/** Steps that are run as one: a model alone, operators as many as may be. */
function groupsOf(ensemble: Ensemble): EnsembleStep[][] {
  const before = stepsBefore(ensemble.steps);
  const models = new Map<EnsembleStep, Set<EnsembleStep>>();
  const groups = new Map<EnsembleStep, EnsembleStep[]>();
  for (const step of stepOrder(ensemble)) {
    const awaited = new Set<EnsembleStep>();
    for (const earlier of before.get(step)!) {
      for (const model of models.get(earlier)!) awaited.add(model);
      if ("model" in earlier) awaited.add(earlier);
    }
    models.set(step, awaited);
    const group = [step];
    if ("operators" in step)
      for (const earlier of before.get(step)!) {
        const joined = groups.get(earlier)!;
        if (joined === groups.get(step) || "model" in earlier || !equal(models.get(earlier)!, awaited))
          continue;
        const own = groups.get(step) ?? group;
        const whole = [...joined, ...own];
        for (const member of whole) groups.set(member, whole);
      }
    if (!groups.has(step)) groups.set(step, group);
  }
  const order = stepOrder(ensemble);
  return [...new Set(groups.values())].map((group) => order.filter((step) => group.includes(step)));
}

function equal(a: ReadonlySet<unknown>, b: ReadonlySet<unknown>): boolean {
  return a.size === b.size && [...a].every((item) => b.has(item));
}

function nodeOf(
  steps: readonly EnsembleStep[],
  ensemble: Ensemble,
  types: ReadonlyMap<string, TensorSpec>,
): PlanNode {
  const [first] = steps as [EnsembleStep];
  if ("model" in first) return { kind: "model", name: first.name, step: first, ...wiringOf(first) };
  const operators = steps as OperatorStep[];
  const name = operators.map((step) => step.name).join("+");
  const written = new Set(operators.flatMap((step) => wiringOf(step).writes));
  const reads = [...new Set(operators.flatMap((step) => wiringOf(step).reads))].filter(
    (t) => !written.has(t),
  );
  const inputs = reads.map((tensor) => {
    const spec = types.get(tensor);
    if (!spec)
      throw new InvalidModelError(
        `step '${name}'`,
        `the type of tensor '${tensor}' is not known: the model that gives it has no known signature`,
      );
    return spec;
  });
  const readElsewhere = new Set([
    ...ensemble.outputs.map((output) => output.name),
    ...ensemble.steps.filter((step) => !steps.includes(step)).flatMap((step) => wiringOf(step).reads),
  ]);
  const wanted = new Set([...written].filter((tensor) => readElsewhere.has(tensor)));
  const graph = buildOperators(operators, inputs, wanted);
  return { kind: "operators", name, graph, reads, writes: graph.outputs.map((output) => output.name) };
}

function inOrder(nodes: readonly PlanNode[]): PlanNode[] {
  const writer = new Map(nodes.flatMap((node) => node.writes.map((tensor) => [tensor, node])));
  const ordered = new Set<PlanNode>();
  const visit = (node: PlanNode): void => {
    if (ordered.has(node)) return;
    for (const tensor of node.reads) {
      const earlier = writer.get(tensor);
      if (earlier) visit(earlier);
    }
    ordered.add(node);
  };
  for (const node of nodes) visit(node);
  return [...ordered];
}
