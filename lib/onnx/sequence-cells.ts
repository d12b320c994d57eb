/**
 * RnnSequence, GruSequence and LstmSequence as a Scan over their steps. For each step, with z the projected input
 * and h, c the states (h·keep in place of h in front of R, for recurrent dropout):
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
    /** h as R sees it. */
    read: (h: Value) => Value;
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

function cellOf(
  graph: GraphBuilder,
  op: SequenceOp,
  r: Value,
  bias: Value | undefined,
  attributes: Attributes,
): Cell {
  const units = r.shape[0] as number;
  const cut = (body: GraphBuilder, x: Value, ...sizes: number[]) =>
    body.ops("Split", [x, body.ints(sizes)], sizes.length, { axis: 1 });
  if (op === "RnnSequence")
    return (body, { z, h, read, candidate }) => ({
      h: candidate.append(body, body.op("Gemm", [read(h), r, z])),
      saved: [],
    });
  if (op === "LstmSequence")
    return (body, { z, h, read, c, gate, candidate }) => {
      const scores = cut(body, body.op("Gemm", [read(h), r, z]), units, units, units, units);
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
  return (body, { z, h, read, gate, candidate }) => {
    const [zGates, zCandidate] = cut(body, z, 2 * units, units) as [Value, Value];
    const gates = gate.append(body, body.op("Gemm", [read(h), ofGates, zGates]));
    const [update, reset] = cut(body, gates, units, units) as [Value, Value];
    const projected = resetAfter
      ? body.op("Gemm", bias ? [read(h), ofCandidate, bias] : [read(h), ofCandidate])
      : body.op("Mul", [reset, read(h)]);
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
  const cell = cellOf(graph, op, r!, withCarry ? undefined : extra, attributes);
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
        read: (state) => (keep ? body.op("Mul", [state, keep]) : state),
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
