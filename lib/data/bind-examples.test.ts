/** Columns that do not fit the ends they are bound to are refused by name, whatever they were read from. */

import { bindExamples } from "./bind-examples.ts";
import { type Examples, memoryColumn } from "./examples.ts";

const x = memoryColumn({ name: "x", shape: [2], datatype: "FP32" }, new Float32Array(4));
const values = (shape: number[], data = new Float32Array(2 * shape.reduce((a, b) => a * b, 1))) =>
  memoryColumn({ name: "y", shape, datatype: "FP32" }, data);
const classes = (...data: number[]) =>
  memoryColumn(
    { name: "y", shape: [], datatype: "FP32", labelNames: ["a", "b", "c"] },
    Float32Array.from(data),
  );
const bind = (target: Examples["targets"][number], output: number[]) =>
  bindExamples(
    { inputs: [{ name: "x", shape: [2] }], outputs: [{ name: "y", shape: output }] },
    { count: 2, inputs: [x], targets: [target] },
  );

describe("values", () => {
  test("are of the output's shape, or one for each position of one output", () => {
    expect(bind(values([5, 1]), [5, 1]).targets[0]!.shape).toEqual([5, 1]);
    expect(bind(values([5]), [5, 1]).targets[0]!.shape).toEqual([5]);
    expect(bind(values([]), [1]).targets[0]!.shape).toEqual([]);
    expect(bind(values([7]), [-1, 1]).targets[0]!.shape).toEqual([7]);
  });

  test.each<[number[], number[]]>([
    [[7], [5, 1]],
    [[3], [4]],
    [[5], [5, 2]],
    [[], [2]],
  ])("of [%j] do not fit an output of [%j]", (shape, output) => {
    expect(() => bind(values(shape), output)).toThrow(
      `received examples of shape [${shape.join(",")}], expected [${output.join(",")}], the network's output 'y'`,
    );
  });
});

test.each([3, -1, 0.5, Number.NaN])("class %d of three is refused", (label) => {
  expect(() => bind(classes(0, label), [3])).toThrow(`received class ${label}, expected 0 to 2`);
});

describe("a choice of columns", () => {
  const label = { ...classes(0, 1), name: "x" };
  const ends = { inputs: [{ name: "constructor", shape: [2] }], outputs: [{ name: "valueOf", shape: [3] }] };
  const examples = { count: 2, inputs: [x], targets: [label] };

  test("that names none leaves them to be found, whatever the ends are called", () => {
    expect(bindExamples(ends, examples, { inputs: {}, targets: {} })).toMatchObject(examples);
  });

  test("means the target where an input has the same name", () => {
    expect(bindExamples(ends, examples, { targets: { valueOf: "x" } }).targets[0]).toBe(label);
    expect(bindExamples(ends, examples, { inputs: { constructor: "x" } }).inputs[0]).toBe(x);
  });
});
