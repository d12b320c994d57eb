/** Training requests are read beside the event loop, and refused as if they were read on it. */

import { monitorEventLoopDelay } from "node:perf_hooks";
import { stripesNetwork } from "../../test/fixtures/idx-dataset.ts";
import { SpecReader } from "./spec-reader.ts";
import { parseTrainingSpec } from "./training-spec.ts";

const reader = new SpecReader();
afterAll(() => reader.close());

const request = (more: object = {}) => ({
  model: "m",
  architecture: stripesNetwork(),
  data: { dataset: "stripes" },
  ...more,
});

const refusal = async (read: () => unknown): Promise<object> => {
  try {
    await read();
  } catch (error) {
    const { name, message, type, code, retryable, data } = error as Error & Record<string, unknown>;
    return { name, message, type, code, retryable, data };
  }
  throw new Error("it was not refused");
};

test("gives the specification that it gives on the loop", async () => {
  const text = JSON.stringify(stripesNetwork());
  for (const given of [request(), request({ architecture: text, seed: 3, initialWeights: { model: "m" } })])
    expect(await reader.read(given)).toEqual(parseTrainingSpec(given));
});

const layer = (class_name: string, config: object) => ({ class_name, config });
const network = (...layers: object[]) => ({ class_name: "Sequential", config: { name: "n", layers } });

test.each<[string, unknown]>([
  ["nothing", undefined],
  ["a field that is not known", request({ colour: 1 })],
  ["a number that is none", request({ epochs: Number.NaN })],
  ["an integer of any size", request({ seed: 10n })],
  ["bytes", request({ optimizer: new Uint8Array(3) })],
  ["an unknown layer", request({ architecture: network(layer("Densely", {})) })],
  [
    "an unknown option",
    request({ architecture: network(layer("InputLayer", { batch_shape: [null, 2], x: 1 })) }),
  ],
  ["an unknown optimiser", request({ optimizer: "Adem" })],
])("refuses %s as it does on the loop", async (_, given) => {
  expect(await refusal(() => reader.read(given))).toEqual(await refusal(() => parseTrainingSpec(given)));
});

test("names what is no data at all", async () => {
  expect(await refusal(() => reader.read(request({ loss: { of: () => 1 } })))).toMatchObject({
    type: "INVALID_INPUT",
    data: { field: "loss.of", received: "function", expected: "JSON data" },
  });
  let deep: unknown = {};
  for (let i = 0; i < 100_000; i++) deep = { deep };
  expect(await refusal(() => reader.read(request({ architecture: deep })))).toMatchObject({
    type: "INVALID_INPUT",
    data: { field: "architecture", received: "data more than 512 levels deep" },
  });
});

test("leaves the event loop free while it reads thousands of layers", async () => {
  const input = layer("InputLayer", { name: "x", batch_shape: [null, 4] });
  const many = Array.from({ length: 4000 }, () => layer("Dense", { units: 4 }));
  const given = request({ architecture: network(input, ...many), loss: "mse" });
  await reader.read(request());
  const delays = monitorEventLoopDelay({ resolution: 1 });
  const from = performance.now();
  delays.enable();
  await reader.read(given);
  delays.disable();
  const tookMs = performance.now() - from;
  // On the loop it would be one delay of all that time. Beside it, copies of request and answer.
  expect(delays.max / 1e6).toBeLessThan(tookMs / 2);
});

test("refuses what it is reading when it is closed", async () => {
  const closed = new SpecReader();
  const reading = refusal(() => closed.read(request()));
  await closed.close();
  expect(await reading).toMatchObject({ type: "DRAINING", retryable: true });
});
