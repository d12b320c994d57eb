/** Parameter schemas that several services share (fastest-validator). */

export const ARTIFACT_PARAMS = {
  type: "object",
  strict: true,
  props: {
    digest: { type: "string", pattern: "^sha256:[0-9a-f]{64}$" },
    size: { type: "number", integer: true, min: 0 },
  },
} as const;

export const DATASET_PARAMS = {
  type: "object",
  strict: true,
  props: {
    dataset: { type: "string", min: 1, max: 64 },
    testLimit: { type: "number", integer: true, min: 1, optional: true },
    inputs: { type: "record", key: "string", value: "string", optional: true },
    targets: { type: "record", key: "string", value: "string", optional: true },
  },
} as const;
