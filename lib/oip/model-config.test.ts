import type { ModelMetadata } from "../protocol/inference.ts";
import { modelConfig } from "./model-config.ts";

const DEFAULTS = { workers: 2, maxBatchRows: 32, queueDelayMs: 1, maxQueue: 100, timeoutMs: 5000 };
const METADATA: ModelMetadata = {
  model: "e",
  version: "1",
  versions: ["1"],
  platform: "ensemble",
  inputs: [{ name: "image", datatype: "UINT8", shape: [-1, 28, 28] }],
  outputs: [{ name: "scores", datatype: "FP32", shape: [-1, 10] }],
  labels: [],
  steps: [
    { name: "pre", inputs: { image: "image" }, outputs: { pixels: "pixels" } },
    { name: "one", model: "m", version: "3", inputs: { x: "pixels" }, outputs: { y: "first" } },
    { name: "two", model: "m", version: "canary", inputs: { x: "first" }, outputs: { y: "scores" } },
  ],
};

test("an ensemble is scheduled as Triton's are: by steps, with no queue and no instances of its own", () => {
  const config = modelConfig(METADATA, {}, DEFAULTS);
  expect(config).toMatchObject({
    name: "e",
    platform: "ensemble",
    max_batch_size: 32,
    input: [{ name: "image", data_type: "TYPE_UINT8", dims: [28, 28] }],
    ensemble_scheduling: {
      step: [
        {
          model_name: "pre",
          model_version: -1,
          input_map: { image: "image" },
          output_map: { pixels: "pixels" },
        },
        { model_name: "m", model_version: 3, input_map: { x: "pixels" }, output_map: { y: "first" } },
        { model_name: "m", model_version: -1, input_map: { x: "first" }, output_map: { y: "scores" } },
      ],
    },
    response_cache: { enable: false },
    parameters: { step_alias_two: { string_value: "canary" } },
  });
  expect(Object.keys(config)).not.toEqual(expect.arrayContaining(["instance_group"]));
  expect(Object.keys(config)).not.toEqual(expect.arrayContaining(["dynamic_batching"]));
  const { steps: _, ...model } = METADATA;
  expect(modelConfig(model, {}, DEFAULTS)).not.toHaveProperty("ensemble_scheduling");
});
