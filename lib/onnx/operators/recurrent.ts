/**
 * Operators that run along a sequence.
 *
 * ONNX's: X [steps, batch, inputs], W [directions, gates·units, inputs], R [directions, gates·units, units] ->
 * Y [steps, directions, batch, units], Y_h and, for LSTM, Y_c [directions, batch, units]. Layout 0 alone, the one
 * ONNX Runtime knows. And Scan.
 *
 * Moiety's forms of recurrence that is trained, RnnSequence, GruSequence and LstmSequence (`sequence-cells.ts` says
 * what they compute): Z [steps, batch, gates·units], the projected inputs with their bias, R [units, gates·units],
 * mask BOOL [steps, batch, 1]?, keep
 * [batch, gates·units]?, h0 [batch, units], and c0 (LSTM) or the bias of the recurrent
 * candidate [units] (GRU)? -> all states h [steps, batch, units], the last, and for LSTM the last c; on request what
 * their gradients need again, [steps, batch, units] each.
 */

import { isGraph } from "../graph.ts";
import { describe, type OutputSpec, type ShapeRule } from "./rule.ts";

const recurrent =
  (gates: number, states: 1 | 2): ShapeRule =>
  (n) => {
    const [x, w, r] = [n.input(0), n.input(1), n.input(2)];
    if (n.int("layout", 0) !== 0) n.fail("layout must be 0");
    if (x.shape.length !== 3) n.fail(`X must be [steps, batch, inputs], not ${describe(x.shape)}`);
    const directions = n.string("direction", "forward") === "bidirectional" ? 2 : 1;
    const units = n.int("hidden_size", 0);
    const [steps, batch, inputs] = x.shape as [number, number, number];
    if (w.shape.join() !== [directions, gates * units, inputs].join())
      n.fail(`W must be [${directions},${gates * units},${inputs}], not ${describe(w.shape)}`);
    if (r.shape.join() !== [directions, gates * units, units].join())
      n.fail(`R must be [${directions},${gates * units},${units}], not ${describe(r.shape)}`);
    if (n.has(3) && n.input(3).shape.join() !== [directions, 2 * gates * units].join())
      n.fail(`B must be [${directions},${2 * gates * units}], not ${describe(n.input(3).shape)}`);
    if (n.has(4) && n.input(4).shape.join() !== `${batch}`)
      n.fail(`sequence_lens must be [${batch}], not ${describe(n.input(4).shape)}`);
    const state = [directions, batch, units];
    for (let i = 5; i < 5 + states; i++)
      if (n.has(i) && n.input(i).shape.join() !== state.join())
        n.fail(`an initial state must be ${describe(state)}, not ${describe(n.input(i).shape)}`);
    const { datatype } = x;
    return [
      { datatype, shape: [steps, directions, batch, units] },
      ...Array.from({ length: states }, () => ({ datatype, shape: [...state] })),
    ];
  };

const scan: ShapeRule = (n) => {
  const { body } = n.node.attributes;
  if (body === undefined || !isGraph(body)) return n.fail("it has no body");
  const inputs = n.inputs;
  const states = inputs.length - n.int("num_scan_inputs", 0);
  const steps = inputs[states]?.shape[0] ?? n.fail("it reads no sequence");
  if (body.inputs.length !== inputs.length)
    n.fail(`its body takes ${body.inputs.length} inputs, received ${inputs.length}`);
  body.inputs.forEach(({ shape }, i) => {
    const given = i < states ? inputs[i]!.shape : inputs[i]!.shape.slice(1);
    if (given.join() !== shape.join())
      n.fail(`its body takes ${describe(shape)} as input ${i}, not ${describe(given)}`);
  });
  return body.outputs.map(({ datatype, shape }, i) => ({
    datatype,
    shape: i < states ? [...shape] : [steps, ...shape],
  }));
};

const sequence =
  (gates: number, lastStates: number, saved: number, extra: "state" | "bias" | undefined): ShapeRule =>
  (n) => {
    const [z, r] = [n.input(0), n.input(1)];
    const [steps, batch] = z.shape as [number, number];
    const units = r.shape[0] as number;
    const expected: [number, (number | string)[]][] = [
      [0, [steps, batch, gates * units]],
      [1, [units, gates * units]],
      [2, [steps, batch, 1]],
      [3, [batch, gates * units]],
      [4, [batch, units]],
      [5, extra === "bias" ? [units] : [batch, units]],
    ];
    for (const [i, shape] of expected)
      if (n.has(i) && n.input(i).shape.join() !== shape.join())
        n.fail(`input ${i} must be ${describe(shape)}, not ${describe(n.input(i).shape)}`);
    if (!n.has(4) || (extra === "state" && !n.has(5))) n.fail("an initial state is missing");
    const spec = (shape: (number | string)[]): OutputSpec => ({ datatype: z.datatype, shape });
    return [
      spec([steps, batch, units]),
      ...Array.from({ length: lastStates }, () => spec([batch, units])),
      ...Array.from({ length: saved }, () => spec([steps, batch, units])),
    ];
  };

export const recurrence: Record<string, ShapeRule> = {
  RNN: recurrent(1, 1),
  GRU: recurrent(3, 1),
  LSTM: recurrent(4, 2),
  Scan: scan,
  RnnSequence: sequence(1, 1, 0, undefined),
  GruSequence: sequence(3, 1, 4, "bias"),
  LstmSequence: sequence(4, 2, 6, "state"),
};
