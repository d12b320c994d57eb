/** Every layer, by its Keras class name. To add one: a file beside this one and an entry here. */

import type { LayerDefinition } from "../layer.ts";
import { activation } from "./activation.ts";
import { batchNormalization } from "./batch-normalization.ts";
import { conv2d } from "./conv2d.ts";
import { dense } from "./dense.ts";
import { dropout } from "./dropout.ts";
import { flatten } from "./flatten.ts";
import { layerNormalization } from "./layer-normalization.ts";
import { maxPooling2d } from "./max-pooling2d.ts";
import { rescaling } from "./rescaling.ts";

export const LAYERS: Readonly<Record<string, LayerDefinition>> = {
  Activation: activation,
  BatchNormalization: batchNormalization,
  Conv2D: conv2d,
  Dense: dense,
  Dropout: dropout,
  Flatten: flatten,
  LayerNormalization: layerNormalization,
  MaxPooling2D: maxPooling2d,
  Rescaling: rescaling,
};
