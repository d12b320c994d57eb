/**
 * Which places a query may attend to, as Keras puts it together: masks carried by the inputs, masks given in the call,
 * the causal and the sliding-window mask, all of which must agree. BOOL, broadcast to [batch, heads, T, S].
 *
 * A masked score gets -1e9 added, after which the softmax gives it exactly 0. Only where a query may attend to nothing
 * would the scores live on; `open` says for which queries that is not so, and is left out where it holds for all.
 */

import { InvalidModelError } from "../../errors.ts";
import type { GraphBuilder, Value } from "../../onnx/builder.ts";
import { literalOf } from "../../onnx/graph.ts";
import { ONNX_TYPE } from "../../onnx/proto.ts";
import { reshapeTo } from "../layer.ts";

export type AttentionMaskParts = {
  /** T and S. */
  queries: number;
  keys: number;
  heads: number;
  /** [batch, T]: queries that count. */
  query?: Value | undefined;
  /** [batch, S] each: keys that count. */
  key: readonly (Value | undefined)[];
  /** [batch, T, S] or [batch, heads, T, S], either of T and S, and heads, may be 1; any type, 0 is masked. */
  attention?: Value | undefined;
  causal: boolean;
  /** Attend at most this many places away, less one. */
  window?: number | undefined;
};

export type AttentionMask = {
  /** FP32, to be added to the scores: 0, or -1e9 where masked. */
  addend: Value;
  /** FP32, 1 for a query that may attend to some key, else 0; last size 1. Left out where all may. */
  open?: Value;
};

const MASKED = -1e9;

/** Undefined where nothing is masked. @throws {InvalidModelError} when a mask does not fit */
export function attentionMask(graph: GraphBuilder, parts: AttentionMaskParts): AttentionMask | undefined {
  const { queries, keys } = parts;
  const fixed = fixedMask(parts);
  const fed: Value[] = [];
  if (parts.query) fed.push(spread(graph, parts.query, [1, queries, 1], "query mask"));
  for (const key of parts.key) if (key) fed.push(spread(graph, key, [1, 1, keys], "key mask"));
  if (parts.attention) fed.push(attentionArgument(graph, parts.attention, parts));
  if (fed.length === 0) {
    if (!fixed) return undefined;
    const addend = graph.constant(
      `mask:${parts.causal}:${parts.window}`.concat(`:${queries}x${keys}`),
      literalOf(
        Float32Array.from(fixed, (open) => (open ? 0 : MASKED)),
        [1, 1, queries, keys],
      ),
    );
    const rows = Array.from({ length: queries }, (_, t) => fixed.subarray(t * keys, (t + 1) * keys));
    const opens = Float32Array.from(rows, (row) => (row.includes(1) ? 1 : 0));
    if (!opens.includes(0)) return { addend };
    return { addend, open: graph.initializer("open_queries", literalOf(opens, [1, 1, queries, 1])) };
  }
  if (fixed)
    fed.push(
      graph.constant(`allowed:${parts.causal}:${parts.window}:${queries}x${keys}`, {
        datatype: "BOOL",
        shape: [1, 1, queries, keys],
        data: fixed,
      }),
    );
  const allowed = fed.reduce((all, mask) => graph.op("And", [all, mask]));
  const number = graph.op("Cast", [allowed], { to: ONNX_TYPE.FP32 });
  return {
    addend: graph.op("Mul", [graph.op("Sub", [number, graph.scalar(1)]), graph.scalar(-MASKED)]),
    open: graph.op("ReduceMax", [number, graph.ints([-1])], { keepdims: 1 }),
  };
}

/** [T, S], 1 where allowed, of the masks that do not depend on what is fed. */
function fixedMask({ queries, keys, causal, window }: AttentionMaskParts): Uint8Array | undefined {
  if (!causal && window === undefined) return undefined;
  return Uint8Array.from({ length: queries * keys }, (_, i) => {
    const [t, s] = [Math.floor(i / keys), i % keys];
    return (!causal || t >= s) && (window === undefined || Math.abs(t - s) < window) ? 1 : 0;
  });
}

function spread(graph: GraphBuilder, mask: Value, sizes: readonly number[], what: string): Value {
  const steps = Math.max(...sizes);
  if (mask.shape.length !== 2 || mask.shape[1] !== steps)
    throw new InvalidModelError(what, `received [${mask.shape.join(",")}], expected [batch,${steps}]`);
  return reshapeTo(graph, asBool(graph, mask), [mask.shape[0]!, ...sizes]);
}

function attentionArgument(graph: GraphBuilder, given: Value, { queries, keys, heads }: AttentionMaskParts) {
  const { shape } = given;
  const [batch, ...sizes] = shape.length === 3 ? [shape[0]!, 1, ...shape.slice(1)] : shape;
  const fits = [heads, queries, keys].every((size, i) => sizes[i] === 1 || sizes[i] === size);
  if (batch === undefined || sizes.length !== 3 || !fits)
    throw new InvalidModelError(
      "attention_mask",
      `received [${shape.join(",")}], expected [batch,${queries},${keys}] or [batch,${heads},${queries},${keys}]`,
    );
  const mask = asBool(graph, given);
  return shape.length === 3 ? reshapeTo(graph, mask, [batch, ...sizes]) : mask;
}

export function asBool(graph: GraphBuilder, value: Value): Value {
  return value.datatype === "BOOL" ? value : graph.op("Cast", [value], { to: ONNX_TYPE.BOOL });
}
