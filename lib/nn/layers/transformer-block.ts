/**
 * What a Transformer encoder and decoder are made of, as KerasHub declares and names it: residual sublayers, normalised
 * before (`normalize_first`) or after, around attention and a feed-forward network of two Dense layers.
 */

import { InvalidModelError } from "../../errors.ts";
import type { Value } from "../../onnx/builder.ts";
import { ConfigReader } from "../config-reader.ts";
import {
  type ApplyLayer,
  type CallArguments,
  inKerasOrder,
  type LayerContext,
  type LayerDefinition,
  type LayerValue,
} from "../layer.ts";
import { type Attended, attendInHeads } from "./attention-heads.ts";
import { readWeight, refusePenalties } from "./common.ts";
import { dense } from "./dense.ts";
import { droppingElements } from "./dropout.ts";
import { layerNormalization } from "./layer-normalization.ts";

const NO_ARGUMENTS: CallArguments = { tensors: new Map(), options: new Map() };

export class TransformerBlock {
  private readonly heads: number;
  private readonly dropout: number;
  private readonly normalizeFirst: boolean;
  private readonly kernel: ReturnType<typeof readWeight>;
  private readonly bias: ReturnType<typeof readWeight>;
  private readonly normalize: ApplyLayer;
  private readonly expand: ApplyLayer;
  /** Of hidden size; needs the input's shape. */
  private readonly contract: (units: number) => ApplyLayer;

  constructor(config: ConfigReader) {
    const intermediate = config.integer("intermediate_dim", {});
    this.heads = config.integer("num_heads", {});
    this.dropout = config.number("dropout", { fallback: 0, min: 0, below: 1 });
    this.normalizeFirst = config.boolean("normalize_first", false);
    this.kernel = readWeight(config, "kernel", "GlorotUniform");
    this.bias = readWeight(config, "bias", "Zeros");
    const weights = Object.fromEntries(
      ["kernel", "bias"].flatMap((variable) =>
        ["initializer", "regularizer"].map((kind) => {
          const name = `${variable}_${kind}`;
          return [name, config.raw(name)];
        }),
      ),
    );
    const epsilon = config.number("layer_norm_epsilon", { fallback: 1e-5, min: 0 });
    const activation = config.raw("activation") ?? "relu";
    refusePenalties(config);
    const within = (definition: LayerDefinition, given: Record<string, unknown>) => {
      const reader = new ConfigReader(config.where, given);
      const apply = definition(reader, noInnerLayer);
      reader.done();
      return apply;
    };
    this.normalize = within(layerNormalization, { epsilon });
    this.expand = within(dense, { units: intermediate, activation, ...weights });
    this.contract = (units) => within(dense, { units, ...weights });
  }

  /** x + dropout(compute(x)), normalised on the way in or out. The layers are named `<name>_layer_norm` and so on. */
  sublayer(c: LayerContext, name: string, x: LayerValue, compute: (x: LayerValue) => LayerValue): LayerValue {
    const normalize = (v: LayerValue) =>
      one(this.normalize(c.within(`${name}_layer_norm`), [v], NO_ARGUMENTS));
    const y = compute(this.normalizeFirst ? normalize(x) : x);
    const kept = droppingElements(this.dropout)(c.within(`${name}_dropout`), y);
    const sum = { value: c.graph.op("Add", [kept.value, x.value]) };
    return this.normalizeFirst ? sum : normalize(sum);
  }

  feedForward(c: LayerContext, x: LayerValue): LayerValue {
    return this.sublayer(c, "feedforward", x, (input) => {
      const inner = one(this.expand(c.within("feedforward_intermediate_dense"), [input], NO_ARGUMENTS));
      const units = input.value.shape.at(-1) as number;
      return one(this.contract(units)(c.within("feedforward_output_dense"), [inner], NO_ARGUMENTS));
    });
  }

  /** Attention of `query` over `value`, in heads that share out the query's size. */
  attend(
    c: LayerContext,
    query: Value,
    value: Value,
    masks: Attended["masks"],
    withScores = false,
  ): ReturnType<typeof attendInHeads> {
    const size = query.shape.at(-1) as number;
    const each = Math.floor(size / this.heads);
    if (each === 0)
      throw new InvalidModelError("num_heads", `received ${this.heads}, expected at most the size ${size}`);
    const options = {
      heads: this.heads,
      keySize: each,
      valueSize: each,
      dropout: this.dropout,
      bias: true,
      gate: false,
      kernel: this.kernel,
      biasWeight: this.bias,
    };
    return attendInHeads(c, options, { query, key: value, value, masks }, withScores);
  }
}

/** A sequence [batch, steps, size] in Keras's order. @throws {InvalidModelError} */
export function sequenceOf(c: LayerContext, x: LayerValue | undefined, what: string): LayerValue {
  if (!x) throw new InvalidModelError("inputs", `there is no ${what}`);
  const value = inKerasOrder(c.graph, x);
  const known = value.shape.slice(1).every((size) => typeof size === "number");
  if (value.shape.length !== 3 || !known || value.datatype !== "FP32")
    throw new InvalidModelError(
      what,
      `received ${value.datatype} [${value.shape.join(",")}], expected FP32 [batch,steps,size]`,
    );
  return x.mask ? { value, mask: x.mask } : { value };
}

function one(given: ReturnType<ApplyLayer>): LayerValue {
  return Array.isArray(given) ? (given as readonly LayerValue[])[0]! : (given as LayerValue);
}

function noInnerLayer(): never {
  throw new InvalidModelError("layer", "no layer is declared inside this one");
}
