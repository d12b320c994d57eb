/**
 * RnnSequence, GruSequence and LstmSequence as a Scan over their steps. For each step, with z the projected input
 * and h, c the states (in front of the R of gate k, h·keep_k in place of h, for recurrent dropout):
 *
 * - RNN: h' = f(z + h·R)
 * - GRU (gates z, r, n): n = f(z_n + r ⊙ (h·R_n + b)) or, with reset_after 0, f(z_n + (r ⊙ h)·R_n);
 *   h' = z ⊙ h + (1 - z) ⊙ n
 * - LSTM (gates i, f, g, o): c' = f ⊙ c + i ⊙ g; h' = o ⊙ f(c')
 *
 * Where the mask is false the states stay. Attributes: `activations` [of the gates, of the candidate], `reverse`,
 * `reset_after`. These are Keras's cells, with Keras's order of gates.
 */

import type { GraphBuilder, Value } from "./builder.ts";
import { GATE_ACTIVATIONS, type GateActivation } from "./gate-activations.ts";
import type { Attributes } from "./graph.ts";
import { appendScan } from "./scan.ts";

export type SequenceOp = "RnnSequence" | "GruSequence" | "LstmSequence";

/** Inputs by their place: Z, R, mask, keep, h0, c0 or bias. */
export type SequenceInputs = readonly (Value | undefined)[];

type Cell = (
  body: GraphBuilder,
  step: {
    z: Value;
    h: Value;
    c: Value | undefined;
    gate: GateActivation;
    candidate: GateActivation;
  },
) => { h: Value; c?: Value; saved: Value[] };

export function sequenceActivations(attributes: Attributes): [GateActivation, GateActivation] {
  const [gate, candidate] = attributes.activations as [string, string];
  return [GATE_ACTIVATIONS[gate]!, GATE_ACTIVATIONS[candidate]!];
}

/** R of a GRU as that of both gates [units, 2·units] and that of the candidate [units, units]. */
export function gruParts(graph: GraphBuilder, r: Value): [Value, Value] {
  const units = r.shape[0] as number;
  return graph.ops("Split", [r, graph.ints([2 * units, units])], 2, { axis: 1 }) as [Value, Value];
}

/** `value` [..., parts·size] apart along its last axis. */
export function partsOf(graph: GraphBuilder, value: Value, count: number): Value[] {
  if (count === 1) return [value];
  const axis = value.shape.length - 1;
  const size = (value.shape[axis] as number) / count;
  return graph.ops("Split", [value, graph.ints(new Array<number>(count).fill(size))], count, { axis });
}

function cellOf(
  graph: GraphBuilder,
  op: SequenceOp,
  r: Value,
  keep: Value | undefined,
  bias: Value | undefined,
  attributes: Attributes,
): Cell {
  const [units, width] = r.shape as [number, number];
  const keeps = keep && partsOf(graph, keep, width / units);
  const matrices = keep && partsOf(graph, r, width / units);
  /** h as the gate's part of R sees it. */
  const read = (body: GraphBuilder, h: Value, gate: number) =>
    keeps ? body.op("Mul", [h, keeps[gate]!]) : h;
  /** h·R + z for the gates that `matrix` is of, the first of them number `first`. */
  const project = (body: GraphBuilder, h: Value, matrix: Value, first: number, z?: Value): Value => {
    if (!matrices) return body.op("Gemm", z ? [h, matrix, z] : [h, matrix]);
    const count = (matrix.shape[1] as number) / units;
    const each = z && partsOf(body, z, count);
    const scores = Array.from({ length: count }, (_, i) => {
      const factors = [read(body, h, first + i), matrices[first + i]!];
      return body.op("Gemm", each ? [...factors, each[i]!] : factors);
    });
    return count === 1 ? scores[0]! : body.op("Concat", scores, { axis: 1 });
  };
  if (op === "RnnSequence")
    return (body, { z, h, candidate }) => ({
      h: candidate.append(body, project(body, h, r, 0, z)),
      saved: [],
    });
  if (op === "LstmSequence")
    return (body, { z, h, c, gate, candidate }) => {
      const scores = partsOf(body, project(body, h, r, 0, z), 4);
      const [i, f, g, o] = scores.map((x, at) => (at === 2 ? candidate : gate).append(body, x)) as [
        Value,
        Value,
        Value,
        Value,
      ];
      const held = body.op("Mul", [f, c!]);
      const next = body.op("Add", [held, body.op("Mul", [i, g])]);
      const shown = candidate.append(body, next);
      return {
        h: body.op("Mul", [o, shown]),
        c: next,
        saved: [i, f, g, o, gate.byProduct ? held : c!, shown],
      };
    };
  const resetAfter = attributes.reset_after === 1;
  const [ofGates, ofCandidate] = gruParts(graph, r);
  return (body, { z, h, gate, candidate }) => {
    const [zGates, zCandidate] = body.ops("Split", [z, body.ints([2 * units, units])], 2, { axis: 1 }) as [
      Value,
      Value,
    ];
    const gates = gate.append(body, project(body, h, ofGates, 0, zGates));
    const [update, reset] = partsOf(body, gates, 2) as [Value, Value];
    const projected = resetAfter
      ? project(body, h, ofCandidate, 2, bias)
      : body.op("Mul", [reset, read(body, h, 2)]);
    const score = resetAfter
      ? body.op("Add", [zCandidate, body.op("Mul", [reset, projected])])
      : body.op("Gemm", [projected, ofCandidate, zCandidate]);
    const proposed = candidate.append(body, score);
    const kept = body.op("Mul", [update, body.op("Sub", [h, proposed])]);
    return { h: body.op("Add", [proposed, kept]), saved: [update, reset, proposed, projected] };
  };
}

/**
 * Appends the Scan of a sequence operator. `names` are the operator's outputs, "" or left out for those that nobody
 * reads; without names all states and the last ones are given.
 */
export function appendSequence(
  graph: GraphBuilder,
  op: SequenceOp,
  inputs: SequenceInputs,
  attributes: Attributes,
  names?: readonly string[],
): Value[] {
  const [z, r, mask, keep, h0, extra] = inputs;
  const withCarry = op === "LstmSequence";
  const states = withCarry ? [h0!, extra!] : [h0!];
  const cell = cellOf(graph, op, r!, keep, withCarry ? undefined : extra, attributes);
  const [gate, candidate] = sequenceActivations(attributes);
  const wanted = (names ?? []).slice(1 + states.length).map((name) => name !== "");
  const written = names && [
    ...states.map((_, i) => names[1 + i] ?? ""),
    names[0] ?? "",
    ...names.slice(1 + states.length).filter((name) => name !== ""),
  ];
  const given = appendScan(
    graph,
    {
      states,
      sequences: mask ? [z!, mask] : [z!],
      reverse: attributes.reverse === 1,
      ...(written && { names: written }),
    },
    (body, [h, c], [zStep, counts]) => {
      const next = cell(body, {
        z: zStep!,
        h: h!,
        c,
        gate,
        candidate,
      });
      const after = [next.h, ...(next.c ? [next.c] : [])].map((state, i) =>
        counts ? body.op("Where", [counts, state, [h, c][i]!]) : state,
      );
      return { states: after, slices: [after[0]!, ...next.saved.filter((_, i) => wanted[i])] };
    },
  );
  return [given[states.length]!, ...given.slice(0, states.length)];
}
