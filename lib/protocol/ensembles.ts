/** Ensembles: a graph of models and operators that is served as one model. Wire data, as someone writes it. */

import type { TensorSpec } from "../tensor/tensor.ts";

/** Tensors have names: the ensemble's inputs, and what steps write. A tensor is written once and read by any number. */
export type Ensemble = { inputs: TensorSpec[]; outputs: TensorSpec[]; steps: EnsembleStep[] };

export type EnsembleStep = ModelStep | OperatorStep;

/** A prediction of a model, as Triton's `input_map` and `output_map` say it. */
export type ModelStep = {
  name: string;
  model: string;
  /** A version number in digits, or an alias, looked up for each request. @default as for a request without */
  version?: string;
  /** Input of the model -> tensor it reads. */
  inputs: Record<string, string>;
  /** Output of the model -> tensor it writes; outputs that are not named are not computed. */
  outputs: Record<string, string>;
};

/** Operators, one after another, run as one graph in a worker. */
export type OperatorStep = { name: string; operators: OperatorCall[] };

export type OperatorCall = {
  /** Its name in the table of operators. */
  operator: string;
  /** Tensors it reads. @default the first result of the operator before it */
  inputs?: string[];
  /** Tensors it writes, by position. @default none: only the next operator reads its result */
  outputs?: string[];
  /** What the operator itself takes. */
  [option: string]: unknown;
};

/** How a step of an ensemble is shown: which model it runs and what it reads and writes. */
export type EnsembleStepMap = {
  name: string;
  /** Undefined: operators. */
  model?: string;
  version?: string;
  inputs: Record<string, string>;
  outputs: Record<string, string>;
};
