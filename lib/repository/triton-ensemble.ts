/**
 * Triton's `ensemble_scheduling` as an ensemble here. Steps map tensors as Triton's do; a model_version of -1, or
 * none, is the version that a request without one gets. Where requests may be batched, Triton's shapes leave the first
 * dimension out. What the steps' models take and give is checked by lib/ensemble.
 */

import { InvalidInputError } from "../errors.ts";
import type { Ensemble } from "../protocol/ensembles.ts";
import { isDatatype } from "../tensor/datatype.ts";
import type { TensorSpec } from "../tensor/tensor.ts";

/** `ensemble_scheduling` as protobuf's JSON. */
export type Scheduling = {
  step?: {
    model_name?: string;
    model_version?: string;
    input_map?: Record<string, string>;
    output_map?: Record<string, string>;
  }[];
};

/** A tensor as declared; `dims` undefined: not said. */
export type DeclaredTensor = { name: string; dataType: string | undefined; dims: number[] | undefined };

/**
 * @param file names the configuration in errors
 * @throws {InvalidInputError} for a tensor without type or shape
 */
export function tritonEnsemble(
  { step: steps = [] }: Scheduling,
  inputs: readonly DeclaredTensor[],
  outputs: readonly DeclaredTensor[],
  batched: boolean,
  file: string,
): Ensemble {
  const spec = ({ name, dataType, dims }: DeclaredTensor): TensorSpec => {
    const datatype = dataType === "TYPE_STRING" ? "BYTES" : dataType?.replace("TYPE_", "");
    if (!isDatatype(datatype) || dims === undefined)
      throw new InvalidInputError({
        field: `${file}: tensor "${name}"`,
        received: "an ensemble's tensor without data_type or dims",
        expected: "both",
      });
    return { name, datatype, shape: batched ? [-1, ...dims] : dims };
  };
  return {
    inputs: inputs.map(spec),
    outputs: outputs.map(spec),
    steps: steps.map(
      ({ model_name: model = "", model_version: version, input_map = {}, output_map = {} }, i) => ({
        name: `step${i + 1}`,
        model,
        // Triton's default, 0, is not a version either.
        ...(version !== undefined && Number(version) > 0 && { version }),
        inputs: input_map,
        outputs: output_map,
      }),
    ),
  };
}
