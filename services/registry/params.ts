/** Shapes of the registry's parameters (fastest-validator). What names may be is decided by lib/registry. */

import { DATATYPES } from "../../lib/tensor/datatype.ts";
import { ARTIFACT_PARAMS } from "../../mixins/params.ts";

const NAME = "string|min:1|max:256";
const COUNT = "number|integer|min:0";
const NUMBER = "number";

export const NO_PARAMS = { $$strict: true } as const;
export const MODEL_PARAMS = { $$strict: true, model: NAME } as const;
export const VERSION_PARAMS = { $$strict: true, model: NAME, version: `${NAME}|optional` } as const;
export const PROMOTE_PARAMS = { $$strict: true, model: NAME, version: COUNT } as const;
export const ALIAS_PARAMS = { ...PROMOTE_PARAMS, alias: "string" } as const;

/** What may be in a configuration is decided, field by field, by lib/registry. */
export const CONFIGURE_PARAMS = { ...MODEL_PARAMS, configuration: "any" } as const;

/** What may be in an ensemble is decided, field by field, by lib/ensemble. */
export const ENSEMBLE_PARAMS = {
  ...MODEL_PARAMS,
  ensemble: "any",
  labels: { type: "array", items: "string", optional: true },
} as const;

export const LOADED_PARAMS = { ...MODEL_PARAMS, loaded: "boolean" } as const;

/** What may be in a rollout is decided, field by field, by lib/registry. */
export const ROLL_OUT_PARAMS = { ...MODEL_PARAMS, rollout: "any" } as const;
export const ROLL_BACK_PARAMS = {
  ...PROMOTE_PARAMS,
  startedAt: "string|optional",
  reason: "string|min:1|max:1000",
} as const;

const TENSORS = {
  type: "array",
  min: 1,
  items: {
    type: "object",
    strict: true,
    props: {
      name: NAME,
      datatype: { type: "enum", values: [...DATATYPES] },
      shape: { type: "array", items: "number|integer|min:-1" },
    },
  },
};

const CLASSIFICATION = {
  kind: { type: "equal", value: "classification", strict: true },
  examples: COUNT,
  loss: NUMBER,
  accuracy: "number|min:0|max:1",
  macro: { type: "object", strict: true, props: { precision: NUMBER, recall: NUMBER, f1: NUMBER } },
  perClass: {
    type: "array",
    items: {
      type: "object",
      strict: true,
      props: { label: "string", precision: NUMBER, recall: NUMBER, f1: NUMBER, support: COUNT },
    },
  },
  confusionMatrix: { type: "array", items: { type: "array", items: COUNT } },
};

const REGRESSION = {
  kind: { type: "equal", value: "regression", strict: true },
  examples: COUNT,
  loss: "number|min:0",
  mae: "number|min:0",
  rmse: "number|min:0",
  r2: { type: "number", max: 1, nullable: true },
};

/** Scores of either kind; `more` are fields they may have besides. */
const scores = (more: Record<string, unknown>) => ({
  type: "multi",
  rules: [CLASSIFICATION, REGRESSION].map((props) => ({
    type: "object",
    strict: true,
    props: { ...props, ...more },
  })),
});

const EVALUATION = {
  ...scores({ outputs: { type: "record", key: "string", value: scores({}), optional: true } }),
  optional: true,
};

const LINEAGE = {
  type: "object",
  strict: true,
  optional: true,
  props: {
    jobId: NAME,
    dataset: {
      type: "object",
      strict: true,
      props: {
        name: NAME,
        digest: "string",
        trainExamples: COUNT,
        validationExamples: COUNT,
        testExamples: COUNT,
      },
    },
    data: "object|optional",
    seed: "number|integer",
    engine: "string",
    backend: "string|optional",
    codeVersion: "string",
    architecture: "any",
    loss: "any",
    lossWeights: { type: "any", optional: true },
    classWeights: "object|optional",
    optimizer: "any",
    callbacks: "array|optional",
    epochs: COUNT,
    batchSize: COUNT,
    trainSeconds: "number|min:0",
    initialWeights: "object|optional",
    parity: {
      type: "object",
      strict: true,
      props: { examples: COUNT, maxAbsError: NUMBER, tolerance: NUMBER },
    },
  },
};

export const PUBLISH_PARAMS = {
  $$strict: true,
  model: NAME,
  artifacts: {
    type: "object",
    strict: true,
    props: { onnx: ARTIFACT_PARAMS, checkpoint: { ...ARTIFACT_PARAMS, optional: true } },
  },
  signature: { type: "object", strict: true, props: { inputs: TENSORS, outputs: TENSORS } },
  labels: { type: "array", items: "string" },
  metrics: EVALUATION,
  lineage: LINEAGE,
};
