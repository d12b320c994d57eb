/** One gradient rule per differentiable operator. To add one: a rule in the file of its kind, spread in here. */

import type { GradientRule } from "../gradient-rule.ts";
import { activation } from "./activation.ts";
import { arithmetic } from "./arithmetic.ts";
import { averagePooling } from "./average-pooling.ts";
import { convolution } from "./convolution.ts";
import { linear } from "./linear.ts";
import { normalization } from "./normalization.ts";
import { pooling } from "./pooling.ts";
import { recurrent } from "./recurrent.ts";
import { reduction } from "./reduction.ts";
import { softmaxes } from "./softmax.ts";
import { structure } from "./structure.ts";

export const GRADIENTS: Readonly<Record<string, GradientRule>> = {
  ...arithmetic,
  ...activation,
  ...linear,
  ...normalization,
  ...reduction,
  ...softmaxes,
  ...structure,
  ...convolution,
  ...pooling,
  ...recurrent,
  ...averagePooling,
};
