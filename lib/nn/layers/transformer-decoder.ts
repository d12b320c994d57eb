/**
 * TransformerDecoder, as KerasHub declares and computes it: causal self-attention, attention over an encoder's sequence
 * where one is given, and a feed-forward network. Masks of either sequence, carried or given, mask its keys. Caches for
 * decoding step by step are refused.
 */

import { InvalidModelError } from "../../errors.ts";
import type { LayerDefinition } from "../layer.ts";
import { flag, named } from "./call-arguments.ts";
import { sequenceOf, TransformerBlock } from "./transformer-block.ts";

export const DECODER_ARGUMENTS = [
  "decoder_sequence",
  "encoder_sequence",
  "decoder_padding_mask",
  "decoder_attention_mask",
  "encoder_padding_mask",
  "encoder_attention_mask",
  "use_causal_mask",
] as const;

export const transformerDecoder: LayerDefinition = (config) => {
  const block = new TransformerBlock(config);
  // Written for Keras to build the layer from; the shapes are those of what it is applied to.
  config.ignore("decoder_sequence_shape", "encoder_sequence_shape");

  return (c, inputs, call) => {
    if (inputs.length > 2)
      throw new InvalidModelError(
        "inputs",
        `received ${inputs.length}, expected the decoder's and the encoder's`,
      );
    const x = sequenceOf(c, inputs[0] ?? call.tensors.get("decoder_sequence")?.[0], "decoder sequence");
    const given = inputs[1] ?? call.tensors.get("encoder_sequence")?.[0];
    const encoded = given && sequenceOf(c, given, "encoder sequence");

    const own = {
      key: [named(call, "decoder_padding_mask") ?? x.mask],
      attention: named(call, "decoder_attention_mask"),
      causal: flag(call, "use_causal_mask", true),
    };
    let y = block.sublayer(c, "self_attention", x, ({ value }) => ({
      value: block.attend(c.within("self_attention"), value, value, own).value,
    }));
    if (encoded) {
      const masks = {
        key: [named(call, "encoder_padding_mask") ?? encoded.mask],
        attention: named(call, "encoder_attention_mask"),
        causal: false,
      };
      y = block.sublayer(c, "cross_attention", y, ({ value }) => ({
        value: block.attend(c.within("cross_attention"), value, encoded.value, masks).value,
      }));
    }
    const { value } = block.feedForward(c, y);
    return x.mask ? { value, mask: x.mask } : { value };
  };
};
