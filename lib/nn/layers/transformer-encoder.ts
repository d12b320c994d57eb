/**
 * TransformerEncoder, as KerasHub declares and computes it: self-attention and a feed-forward network. The mask the
 * input carries masks queries and keys, a `padding_mask` keys alone, and an `attention_mask` says it for each pair.
 */

import type { LayerDefinition } from "../layer.ts";
import { flag, named } from "./call-arguments.ts";
import { sequenceOf, TransformerBlock } from "./transformer-block.ts";

export const ENCODER_ARGUMENTS = ["padding_mask", "attention_mask", "return_attention_scores"] as const;

export const transformerEncoder: LayerDefinition = (config) => {
  const block = new TransformerBlock(config);

  return (c, [given], call) => {
    const x = sequenceOf(c, given, "input");
    const masks = {
      query: x.mask,
      key: [...new Set([x.mask, named(call, "padding_mask")])],
      attention: named(call, "attention_mask"),
      causal: false,
    };
    const withScores = flag(call, "return_attention_scores");
    let scores: ReturnType<TransformerBlock["attend"]>["scores"];
    const attended = block.sublayer(c, "self_attention", x, ({ value }) => {
      const result = block.attend(c.within("self_attention_layer"), value, value, masks, withScores);
      scores = result.scores;
      return { value: result.value };
    });
    const { value } = block.feedForward(c, attended);
    const output = x.mask ? { value, mask: x.mask } : { value };
    return scores ? [output, { value: scores }] : output;
  };
};
