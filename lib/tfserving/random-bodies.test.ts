/** Random and damaged bodies: each is read, or refused with an error of the caller; nothing else is ever thrown. */

import { randomStream } from "../../test/fixtures/onnx-models.ts";
import { errorType } from "../errors.ts";
import type { ModelMetadata, PredictRequest } from "../protocol/inference.ts";
import { DATATYPES } from "../tensor/datatype.ts";
import { assertTensor, type Tensor, type TensorSpec } from "../tensor/tensor.ts";
import { readExampleRequest } from "./example-request.ts";
import { readPredictRequest } from "./predict-request.ts";
import { parseRequestBody } from "./request-body.ts";

const BODIES = 20_000;
const LEAVES = [
  "0",
  "-1",
  "1.5",
  "1e999",
  "-0",
  "18446744073709551616",
  "NaN",
  "-Infinity",
  "Inf",
  "null",
  "true",
  '"text"',
  '"\\ud800"',
  '{"b64":"aGk="}',
  '{"b64":"="}',
  '{"b64":null}',
  "{}",
  "[]",
];
const KEYS = [
  "instances",
  "inputs",
  "examples",
  "context",
  "signature_name",
  "a",
  "b",
  "b64",
  "__proto__",
  "",
];

const next = randomStream(20261122);
const pick = <T>(values: readonly T[]): T => values[Math.floor(next() * values.length)]!;

function value(depth: number): string {
  const kind = next();
  if (depth === 0 || kind < 0.3) return next() < 0.6 ? "1" : pick(LEAVES);
  // Half of all lists are even, as tensors are.
  if (kind < 0.5)
    return `[${Array(Math.ceil(next() * 3))
      .fill(value(depth - 1))
      .join(",")}]`;
  const parts = Array.from({ length: Math.floor(next() * 4) }, () => value(depth - 1));
  if (kind < 0.75) return `[${parts.join(",")}]`;
  return `{${parts.map((part) => `${JSON.stringify(pick(KEYS))}:${part}`).join(",")}}`;
}

function body(): string {
  const fields = Array.from(
    { length: 1 + Math.floor(next() ** 2 * 3) },
    () => `"${next() < 0.8 ? pick(KEYS.slice(0, 3)) : pick(KEYS)}":${value(3)}`,
  );
  const text = `{${fields.join(",")}}`;
  if (next() < 0.8) return text;
  const at = Math.floor(next() * text.length);
  return text.slice(0, at) + pick(["", "[", '"', "N", "E", "\\", "\0", "}", "NaN"]) + text.slice(at + 1);
}

const spec = (name: string): TensorSpec => ({
  name,
  datatype: pick(DATATYPES),
  shape: Array.from({ length: Math.floor(next() * 4) }, () => pick([-1, -1, 1, 2])),
});

/** What was read; nothing where it was refused. */
function outcome(parse: () => PredictRequest, text: string): Tensor[] {
  try {
    return parse().inputs;
  } catch (error) {
    expect({ text, type: errorType(error), message: String(error) }).toMatchObject({
      type: expect.stringMatching(/^(INVALID_INPUT|MALFORMED_BODY)$/),
      // A refusal is short, whatever was refused.
      message: expect.stringMatching(/^.{1,600}$/s),
    });
    return [];
  }
}

test(`${BODIES} random bodies are read as whole tensors, or refused as their sender's fault`, () => {
  let read = 0;
  for (let i = 0; i < BODIES; i++) {
    const inputs = next() < 0.6 ? [spec("a")] : [spec("a"), spec("b")];
    const metadata: ModelMetadata = {
      model: "m",
      versions: ["1"],
      version: "1",
      platform: "onnxruntime_onnx",
      inputs,
      outputs: [],
      labels: [],
    };
    const text = body();
    for (const parse of [
      () => readPredictRequest(parseRequestBody(Buffer.from(text)), metadata, undefined).request,
      () => readExampleRequest(parseRequestBody(Buffer.from(text)), metadata, undefined, "y"),
    ]) {
      const tensors = outcome(parse, text);
      for (const tensor of tensors) assertTensor(tensor, text);
      if (tensors.length > 0) read++;
    }
  }
  expect(read).toBeGreaterThan(BODIES / 50);
});
