/** ActivityRegularization: hands its input on and adds l1·Σ|x| + l2·Σx², by the size of the batch, to the loss. */

import type { LayerDefinition } from "../layer.ts";
import { penalised } from "../penalised.ts";
import { l1l2 } from "../regularizers.ts";

export const activityRegularization: LayerDefinition = (config) => {
  const l1 = config.number("l1", { fallback: 0, min: 0 });
  const l2 = config.number("l2", { fallback: 0, min: 0 });
  return penalised((_, [x]) => x!, l1l2(l1, l2));
};
