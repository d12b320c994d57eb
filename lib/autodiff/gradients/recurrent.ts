/**
 * Gradients of RnnSequence, GruSequence and LstmSequence (`sequence-cells.ts` says what they compute).
 *
 * What does not wait for another step is done for all steps at once: the slopes before the way back, the gradient of
 * R, one matrix product, after it. The way back itself is a Scan from the last step to the first over
 *
 *   dh = ∂L/∂h_t + what came back from step t + 1, dz = the gradients of the gates' scores, dh' = dz·Rᵀ.
 *
 * Where the mask is false dh and dc pass by: they are split into the part m·dh that enters the step and the rest.
 */

import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import { appendScan } from "../../onnx/scan.ts";
import { gruParts, partsOf, sequenceActivations } from "../../onnx/sequence-cells.ts";
import type { GradientContext, GradientRule } from "../gradient-rule.ts";

const [Z, R, MASK, KEEP, H0, EXTRA] = [0, 1, 2, 3, 4, 5] as const;

/** The sizes, and the parts that all three cells' ways back share. */
class WayBack {
  readonly c: GradientContext;
  readonly steps: number;
  readonly batch: number;
  readonly units: number;
  readonly reverse: boolean;
  readonly mask: Value | undefined;
  /** What recurrent dropout multiplies h by in front of each gate's part of R. */
  private readonly keeps: readonly Value[] | undefined;
  private readonly made = new Map<number | undefined, Value>();

  constructor(c: GradientContext) {
    this.c = c;
    [this.steps, this.batch] = c.known(c.input(Z).shape) as [number, number];
    const [units, width] = c.known(c.input(R).shape) as [number, number];
    this.units = units;
    this.reverse = c.node.attributes.reverse === 1;
    this.mask = c.has(MASK) ? c.op("Cast", [c.input(MASK)], { to: ONNX_TYPE.FP32 }) : undefined;
    this.keeps = c.has(KEEP) ? partsOf(c.graph, c.input(KEEP), width / units) : undefined;
  }

  /** Gradient of a last state; zero where nothing reads it. */
  last(output: number): Value {
    if (this.c.hasGradient(output)) return this.c.gradient(output);
    return this.c.op("Expand", [this.c.scalar(0), this.c.graph.ints([this.batch, this.units])]);
  }

  /** h before each step, or as the part of R that is of `gate` sees it. */
  before(gate?: number): Value {
    const as = this.keeps && gate;
    const made = this.made.get(as);
    if (made) return made;
    const found = as === undefined ? this.joined() : this.c.mul(this.before(), this.keeps![as]!);
    this.made.set(as, found);
    return found;
  }

  private joined(): Value {
    const { c } = this;
    const all = c.graph.extraOutput(c.node, 0);
    const first = c.reshape(c.input(H0), [1, this.batch, this.units]);
    const { graph } = c;
    const [start, end] = this.reverse ? [1, this.steps] : [0, this.steps - 1];
    const others = c.op("Slice", [all, graph.ints([start]), graph.ints([end]), graph.ints([0])]);
    return c.op("Concat", this.reverse ? [others, first] : [first, others], { axis: 0 });
  }

  /** Runs from the last step to the first; `body` has dh as its first state and ends with what R passes back. */
  run(
    states: readonly Value[],
    sequences: readonly Value[],
    body: (
      b: GraphBuilder,
      entering: { dh: Value; past: Value | undefined; states: readonly Value[]; mask: Value | undefined },
      slices: readonly Value[],
    ) => { states: readonly Value[]; slices: readonly Value[] },
  ): Value[] {
    const { c, mask } = this;
    const dy = c.hasGradient(0) ? [c.gradient(0)] : [];
    const masks = mask ? [mask] : [];
    return appendScan(
      c.graph,
      { states, sequences: [...dy, ...masks, ...sequences], reverse: !this.reverse },
      (b, [state, ...others], slices) => {
        const whole = dy.length > 0 ? b.op("Add", [slices[0]!, state!]) : state!;
        const counts = mask ? slices[dy.length]! : undefined;
        const dh = counts ? b.op("Mul", [whole, counts]) : whole;
        const past = counts ? b.op("Sub", [whole, dh]) : undefined;
        return body(b, { dh, past, states: others, mask: counts }, slices.slice(dy.length + masks.length));
      },
    );
  }

  /**
   * What takes scores of the gates that `matrix` is of to a gradient of h, added to `rest`, with what recurrent dropout
   * dropped taken out.
   */
  through(matrix: Value): (b: GraphBuilder, scores: Value, rest: Value | undefined) => Value {
    const { keeps } = this;
    if (!keeps) {
      const back = this.transposed(matrix);
      return (b, scores, rest) => b.op("Gemm", rest ? [scores, back, rest] : [scores, back]);
    }
    const count = (matrix.shape[1] as number) / this.units;
    const backs = partsOf(this.c.graph, matrix, count).map((part) => this.transposed(part));
    return (b, scores, rest) => {
      const parts = partsOf(b, scores, count).map((score, gate) =>
        b.op("Mul", [b.op("Gemm", [score, backs[gate]!]), keeps[gate]!]),
      );
      return [...parts, ...(rest ? [rest] : [])].reduce((sum, part) => b.op("Add", [sum, part]));
    };
  }

  /** Of one gate alone: what it passes back through `matrix` is dropped as h was in front of it. */
  dropped(b: GraphBuilder, gate: number, value: Value): Value {
    return this.keeps ? b.op("Mul", [value, this.keeps[gate]!]) : value;
  }

  /** The gradient of the part of R that is of the gates from number 0 on: Σ over all steps of hᵀ·scores. */
  ofMatrix(scores: Value): Value {
    if (!this.keeps) return this.product(this.before(), scores);
    const parts = partsOf(this.c.graph, scores, (scores.shape[2] as number) / this.units);
    const products = parts.map((part, gate) => this.product(this.before(gate), part));
    return products.length === 1 ? products[0]! : this.c.op("Concat", products, { axis: 1 });
  }

  /** Σ over all steps of statesᵀ·scores. */
  product(states: Value, scores: Value): Value {
    const { c } = this;
    const rows = (x: Value) => c.reshape(x, [this.steps * this.batch, x.shape[2]!]);
    return c.op("Gemm", [rows(states), rows(scores)], { transA: 1 });
  }

  transposed(matrix: Value): Value {
    return this.c.op("Transpose", [matrix], { perm: [1, 0] });
  }
}

const rnn: GradientRule = (c) => {
  const way = new WayBack(c);
  const [, activation] = sequenceActivations(c.node.attributes);
  const h = c.graph.extraOutput(c.node, 0);
  const one = c.op("Expand", [c.scalar(1), c.graph.ints(c.known(h.shape))]);
  const slope = activation.slope(c.graph, one, h, () => h);
  const back = way.through(c.input(R));
  const [dh0, dz] = way.run([way.last(1)], [slope], (b, { dh, past }, [slopeStep]) => {
    const score = b.op("Mul", [dh, slopeStep!]);
    return { states: [back(b, score, past)], slices: [score] };
  }) as [Value, Value];
  return [dz, c.wants(R) ? way.ofMatrix(dz) : undefined, undefined, undefined, c.wants(H0) ? dh0 : undefined];
};

const lstm: GradientRule = (c) => {
  const way = new WayBack(c);
  const { graph } = c;
  const [gate, candidate] = sequenceActivations(c.node.attributes);
  const h = graph.extraOutput(c.node, 0);
  // What the forget gate held back of c or, where that is not enough for its slope, c before each step.
  const [i, f, g, o, kept, shown] = [3, 4, 5, 6, 7, 8].map((at) => graph.extraOutput(c.node, at)) as [
    Value,
    Value,
    Value,
    Value,
    Value,
    Value,
  ];
  // h = o·shown at every step that counts; elsewhere the slopes are multiplied by zero.
  const proposed = once(() => c.mul(i, g));
  const held = once(() => (gate.byProduct ? kept : c.mul(f, kept)));
  const slopes = [
    candidate.slope(graph, o, shown, () => h),
    gate.slope(graph, g, i, proposed),
    gate.slope(graph, kept, f, held),
    candidate.slope(graph, i, g, proposed),
    gate.slope(graph, shown, o, () => h),
  ];
  const back = way.through(c.input(R));
  const [dh0, dc0, dz] = way.run(
    [way.last(1), way.last(2)],
    [...slopes, f],
    (b, { dh, past, states: [carried], mask }, [ofShown, ofI, ofF, ofG, ofO, fStep]) => {
      const entering = mask ? b.op("Mul", [carried!, mask]) : carried!;
      const dc = b.op("Add", [b.op("Mul", [dh, ofShown!]), entering]);
      const parts = [ofI, ofF, ofG].map((slope) => b.op("Mul", [dc, slope!]));
      const scores = b.op("Concat", [...parts, b.op("Mul", [dh, ofO!])], { axis: 1 });
      const passed = b.op("Mul", [dc, fStep!]);
      const next = mask ? b.op("Add", [passed, b.op("Sub", [carried!, entering])]) : passed;
      return { states: [back(b, scores, past), next], slices: [scores] };
    },
  ) as [Value, Value, Value];
  return [
    dz,
    c.wants(R) ? way.ofMatrix(dz) : undefined,
    undefined,
    undefined,
    c.wants(H0) ? dh0 : undefined,
    c.wants(EXTRA) ? dc0 : undefined,
  ];
};

/** The number of a GRU's candidate among its gates. */
const CANDIDATE = 2;

const gru: GradientRule = (c) => {
  const way = new WayBack(c);
  const { graph } = c;
  const [gate, candidate] = sequenceActivations(c.node.attributes);
  const resetAfter = c.node.attributes.reset_after === 1;
  const [update, reset, proposed, projected] = [2, 3, 4, 5].map((at) => graph.extraOutput(c.node, at)) as [
    Value,
    Value,
    Value,
    Value,
  ];
  const rest = c.sub(c.scalar(1), update);
  const change = c.sub(way.before(), proposed);
  // Of the candidate's score, the update gate's score, and the reset gate's score per what it multiplies.
  const reset_ = resetAfter ? projected : way.before(CANDIDATE);
  const slopes = [
    candidate.slope(
      graph,
      rest,
      proposed,
      once(() => c.mul(rest, proposed)),
    ),
    gate.slope(
      graph,
      change,
      update,
      once(() => c.mul(change, update)),
    ),
    gate.slope(
      graph,
      reset_,
      reset,
      once(() => c.mul(reset_, reset)),
    ),
  ];
  const [ofGates, ofCandidate] = gruParts(graph, c.input(R));
  const back = way.through(resetAfter ? c.input(R) : ofGates);
  const backCandidate = resetAfter ? undefined : way.transposed(ofCandidate);
  const join = (b: GraphBuilder, ...parts: Value[]) => b.op("Concat", parts, { axis: 1 });
  const [dh0, dz, dRecurrent] = way.run(
    [way.last(1)],
    [...slopes, update, reset],
    (b, { dh, past }, [ofCandidateStep, ofUpdate, ofReset, updateStep, resetStep]) => {
      const dScore = b.op("Mul", [dh, ofCandidateStep!]);
      const dUpdate = b.op("Mul", [dh, ofUpdate!]);
      const kept = b.op("Mul", [dh, updateStep!]);
      const direct = past ? b.op("Add", [kept, past]) : kept;
      if (!backCandidate) {
        const dReset = b.op("Mul", [dScore, ofReset!]);
        const dProjected = b.op("Mul", [dScore, resetStep!]);
        const recurrent = join(b, dUpdate, dReset, dProjected);
        return {
          states: [back(b, recurrent, direct)],
          slices: [join(b, dUpdate, dReset, dScore), recurrent],
        };
      }
      const dRead = b.op("Gemm", [dScore, backCandidate]);
      const dReset = b.op("Mul", [dRead, ofReset!]);
      const viaReset = b.op("Mul", [dRead, resetStep!]);
      const others = b.op("Add", [way.dropped(b, CANDIDATE, viaReset), direct]);
      return {
        states: [back(b, join(b, dUpdate, dReset), others)],
        slices: [join(b, dUpdate, dReset, dScore)],
      };
    },
  ) as [Value, Value, Value | undefined];
  const dR = () => {
    if (dRecurrent) return way.ofMatrix(dRecurrent);
    const { units } = way;
    const [gates, score] = graph.ops("Split", [dz, graph.ints([2 * units, units])], 2, { axis: 2 });
    return c.op("Concat", [way.ofMatrix(gates!), way.product(projected, score!)], { axis: 1 });
  };
  const dBias = () => {
    const { units } = way;
    const cut = [graph.ints([2 * units]), graph.ints([3 * units]), graph.ints([2])];
    const ofBias = c.op("Slice", [dRecurrent!, ...cut]);
    return c.op("ReduceSum", [ofBias, graph.ints([0, 1])], { keepdims: 0 });
  };
  return [
    dz,
    c.wants(R) ? dR() : undefined,
    undefined,
    undefined,
    c.wants(H0) ? dh0 : undefined,
    c.wants(EXTRA) ? dBias() : undefined,
  ];
};

function once(make: () => Value): () => Value {
  let made: Value | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

export const recurrent: Record<string, GradientRule> = {
  RnnSequence: rnn,
  GruSequence: gru,
  LstmSequence: lstm,
};
