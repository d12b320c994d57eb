/**
 * TokenAndPositionEmbedding, as KerasHub declares it: the sum of a vector for each id and one for each step,
 * [batch, steps] to [batch, steps, embedding_dim]. With `mask_zero` id 0 is masked. Weights of a reverse projection
 * of its own (`tie_weights: false`) belong to its other use, "in reverse", and are refused.
 */

import { InvalidModelError } from "../../errors.ts";
import { ConfigReader } from "../config-reader.ts";
import type { LayerDefinition, LayerValue } from "../layer.ts";
import { readInitializer } from "./common.ts";
import { embedding } from "./embedding.ts";
import { positions, stepsAndSize } from "./position-embedding.ts";

export const tokenAndPositionEmbedding: LayerDefinition = (config, readLayer) => {
  const length = config.integer("sequence_length", {});
  const initializer = config.raw("embeddings_initializer") ?? "uniform";
  const weight = { initializer: readInitializer(config, "embeddings_initializer", "uniform") };
  const tokens = new ConfigReader(config.where, {
    input_dim: config.integer("vocabulary_size", {}),
    output_dim: config.integer("embedding_dim", {}),
    mask_zero: config.boolean("mask_zero", false),
    embeddings_initializer: initializer,
  });
  const embed = embedding(tokens, readLayer);
  if (!config.boolean("tie_weights", true))
    config.refuse("tie_weights", false, "true: weights for the way back are not supported");

  return (c, inputs, call) => {
    const [ids] = inputs;
    if (ids?.value.shape.length !== 2)
      throw new InvalidModelError(
        "input",
        `received [${ids?.value.shape.join(",")}], expected [batch,steps]`,
      );
    const { value, mask } = embed(c.within("token_embedding"), inputs, call) as LayerValue;
    const [steps, size] = stepsAndSize(value);
    const places = positions(c.within("position_embedding"), weight, { length, steps, size });
    const sum = c.graph.op("Add", [value, places]);
    return mask ? { value: sum, mask } : { value: sum };
  };
};
