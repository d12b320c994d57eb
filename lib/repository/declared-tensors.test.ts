import type { ModelSignature } from "../protocol/models.ts";
import { checkDeclared, type Declarations } from "./declared-tensors.ts";

const SIGNATURE: ModelSignature = {
  inputs: [
    { name: "image", datatype: "FP32", shape: [-1, 3, -1, -1] },
    { name: "text", datatype: "BYTES", shape: [-1, 1] },
  ],
  outputs: [{ name: "scores", datatype: "FP16", shape: [-1, 10] }],
};
const tensor = (name: string, dataType?: string, dims?: number[]) => ({ name, dataType, dims });
const check = (declared: Partial<Declarations>, signature = SIGNATURE) =>
  checkDeclared({ inputs: [], outputs: [], batched: undefined, ...declared }, signature);

test("what agrees passes, with the batch left out or without a word about it", () => {
  check({ batched: true, inputs: [tensor("image", "TYPE_FP32", [3, 224, 224])] });
  check({ batched: true, inputs: [tensor("text", "TYPE_STRING", [1])], outputs: [tensor("scores")] });
  check({ batched: false, outputs: [tensor("scores", "TYPE_FP16", [-1, 10])] });
  check({
    inputs: [tensor("image", undefined, [-1, 3, 8, 8])],
    outputs: [tensor("scores", undefined, [10])],
  });
});

test.each([
  [
    { inputs: [tensor("picture")] },
    'input.name: received "picture", expected one of the model\'s: "image", "text"',
  ],
  [
    { inputs: [tensor("text", "TYPE_FP32")] },
    'input "text": data_type: received TYPE_FP32, expected TYPE_STRING',
  ],
  [
    { batched: true, inputs: [tensor("image", "TYPE_FP32", [1, -1, -1])] },
    "expected [3,-1,-1], the batch left out",
  ],
  [{ batched: false, inputs: [tensor("image", "TYPE_FP32", [3, -1, -1])] }, "expected [-1,3,-1,-1]"],
  [{ outputs: [tensor("scores", "TYPE_FP16", [11])] }, 'output "scores": dims: received [11]'],
])("what does not is refused by name: %j", (declared, message) => {
  expect(() => check(declared)).toThrow(message);
});

test("a batch needs a free first dimension everywhere", () => {
  const fixed = { ...SIGNATURE, outputs: [{ name: "one", datatype: "FP32" as const, shape: [1, 10] }] };
  expect(() => check({ batched: true }, fixed)).toThrow('max_batch_size: received more than 0, where "one"');
  check({ batched: false }, fixed);
});
