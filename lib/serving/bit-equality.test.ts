/**
 * What joins a batch gets the bits it would get alone. ONNX Runtime's kernels for convolutions, pooling, matrix products
 * and softmax sum each row in the same order whatever stands beside it, so for such networks nothing less is accepted;
 * where an operator does otherwise, batch-probe.ts allows its rounding.
 */

import { convolutionalModel, heavyModel, random, randomStream } from "../../test/fixtures/onnx-models.ts";
import { InferencePool } from "../runtime/worker-pool.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Batcher } from "./batcher.ts";
import { systemClock } from "./clock.ts";

const metrics = { increment() {}, set() {}, observe() {} };
const name = { model: "m", version: "1" };
const ROWS = 200;

test.each<[string, Uint8Array, number[]]>([
  ["the reference CNN", convolutionalModel(), [28, 28, 1]],
  ["layers of matrix products", heavyModel(256, 4), [256]],
])("%s answers each row with the same bits in a batch as alone", async (_, bytes, shape) => {
  const pool = new InferencePool({ workers: 2, metrics });
  try {
    const model = await pool.load(name, { bytes });
    const [input] = model.signature.inputs;
    const size = shape.reduce((product, length) => product * length, 1);
    const values = random(7, ROWS * size, 1);
    const rows = (from: number, to: number): Tensor[] => [
      { ...input!, shape: [to - from, ...shape], data: values.slice(from * size, to * size) },
    ];
    const bits = ([y]: readonly Tensor[]) => Buffer.from(Float32Array.from(y!.data as Float32Array).buffer);
    const alone: Buffer[] = [];
    for (let row = 0; row < ROWS; row++) alone.push(bits(await pool.run(name, () => rows(row, row + 1))));

    const sizes: number[] = [];
    const batcher = new Batcher({
      name,
      model,
      runner: pool,
      policy: { maxBatchRows: 32, queueDelayMs: 1, maxQueue: 1000 },
      clock: systemClock,
      metrics: { ...metrics, observe: (_metric, value) => void sizes.push(value) },
    });
    const next = randomStream(1);
    const answers: Promise<void>[] = [];
    for (let from = 0, to: number; from < ROWS; from = to) {
      const first = from;
      to = Math.min(ROWS, from + 1 + Math.floor(next() * 7));
      const last = to;
      answers.push(
        batcher.submit(rows(first, last), undefined).then((outputs) => {
          expect(bits(outputs).equals(Buffer.concat(alone.slice(first, last)))).toBe(true);
        }),
      );
      if (next() < 0.1) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(answers);
    expect(Math.max(...sizes)).toBeGreaterThan(8);
  } finally {
    await pool.close();
  }
});
