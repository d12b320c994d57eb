/** Copies are freed, and nothing else is. */

import * as ort from "onnxruntime-node";
import { freeCopies } from "./free-copies.ts";

const tensor = (data: Float32Array) => new ort.Tensor("float32", data, [data.length]);

test("frees what was returned beside the arrays that were given, and leaves those and outputs without one", () => {
  const given = { a: tensor(Float32Array.of(1, 2)), b: tensor(Float32Array.of(3)) };
  const copy = tensor(Float32Array.of(1, 2));
  const own = tensor(given.b.data as Float32Array);
  const other = tensor(Float32Array.of(5));
  freeCopies({ a: copy, b: own, c: other }, given);
  expect((copy.data as Float32Array).length).toBe(0);
  expect([...(given.a.data as Float32Array)]).toEqual([1, 2]);
  expect([...(given.b.data as Float32Array)]).toEqual([3]);
  expect([...(other.data as Float32Array)]).toEqual([5]);
});
