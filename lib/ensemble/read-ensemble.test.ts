import { InvalidInputError, InvalidModelError } from "../errors.ts";
import { RandomStream } from "../random/stream.ts";
import { planEnsemble } from "./plan.ts";
import { MAX_STEPS, readEnsemble } from "./read-ensemble.ts";

const image = { name: "image", datatype: "UINT8", shape: [-1, 4, 4, 3] };
const scores = { name: "scores", datatype: "FP32", shape: [-1, 10] };
const pre = {
  name: "pre",
  operators: [
    { operator: "cast", inputs: ["image"], to: "FP32" },
    { operator: "scale", scale: 1 / 255, outputs: ["pixels"] },
  ],
};
const classify = { name: "classify", model: "mnist", inputs: { x: "pixels" }, outputs: { y: "scores" } };
const good = { inputs: [image], outputs: [scores], steps: [pre, classify] };
/** The good one with other steps. */
const having = (...steps: object[]) => ({ ...good, steps });
const model = (name: string, reads: string, writes: string) => ({
  name,
  model: "m",
  inputs: { x: reads },
  outputs: { y: writes },
});

describe("reading an ensemble", () => {
  test("gives what was written", () => {
    expect(readEnsemble(structuredClone(good))).toEqual(good);
    const pinned = having(pre, { ...classify, version: "3" });
    expect(readEnsemble(pinned)).toEqual(pinned);
    expect(readEnsemble(having(classify, pre)).steps.map(({ name }) => name)).toEqual(["classify", "pre"]);
  });

  test.each<[string, unknown, string]>([
    ["no object", 3, "Invalid ensemble: received 3, expected an object"],
    ["an unknown field", { ...good, step: [] }, "ensemble.step: received a field that is not known"],
    ["no inputs", { ...good, inputs: [] }, "ensemble.inputs: received []"],
    ["no steps", having(), "ensemble.steps: received [], expected an array of 1 to 64 steps"],
    ["too many steps", having(...Array(MAX_STEPS + 1).fill(pre)), "expected an array of 1 to 64 steps"],
    ["two inputs of one name", { ...good, inputs: [image, image] }, "ensemble.inputs[1].name"],
    ["an unknown type", { ...good, inputs: [{ ...image, datatype: "FP8" }] }, "inputs[0].datatype"],
    ["an impossible size", { ...good, inputs: [{ ...image, shape: [-1, 0] }] }, "inputs[0].shape"],
    ["a step without a name", having({ ...classify, name: "" }), "ensemble.steps[0].name"],
    ["two steps of one name", having(pre, { ...classify, name: "pre" }), "ensemble.steps[1].name"],
    ["a step of neither kind", having(pre, { name: "x" }), 'either "model"'],
    ["a step of both kinds", having({ ...pre, ...classify }), 'either "model"'],
    ["an unknown field of a step", having(pre, { ...classify, batch: 1 }), "ensemble.steps[1].batch"],
    ["a model of no name", having(pre, { ...classify, model: "a/b" }), "ensemble.steps[1].model"],
    ["a version that is neither", having(pre, { ...classify, version: "V1" }), "ensemble.steps[1].version"],
    ["a step that reads nothing", having(pre, { ...classify, inputs: {} }), "ensemble.steps[1].inputs"],
    [
      "an input of no tensor",
      having(pre, { ...classify, inputs: { x: 1 } }),
      'ensemble.steps[1].inputs["x"]: received 1',
    ],
    [
      "a tensor nobody writes",
      having(pre, { ...classify, inputs: { x: "pixel" } }),
      "ensemble.steps[1].inputs: received 'pixel', which nothing writes, expected one of 'image', 'pixels', 'scores'",
    ],
    [
      "an output nobody writes",
      { ...good, outputs: [{ ...scores, name: "labels" }] },
      "ensemble.outputs[0].name: received 'labels', which nothing writes",
    ],
    [
      "a tensor written twice",
      having(pre, classify, { ...classify, name: "again" }),
      "ensemble.steps[2].outputs: received 'scores', which is written by step 'classify'",
    ],
    [
      "an input written again",
      having(pre, classify, model("again", "scores", "image")),
      "'image', which is written by the ensemble's inputs",
    ],
    [
      "a tensor nobody reads",
      having(pre, { ...classify, outputs: { y: "scores", z: "rest" } }),
      "ensemble.steps[1].outputs: received 'rest', which nothing reads",
    ],
    [
      "a step nothing comes of",
      having(pre, classify, model("beside", "pixels", "lost")),
      "ensemble.steps[2].outputs: received 'lost', which nothing reads",
    ],
    [
      "an input nobody reads",
      { ...good, inputs: [image, { ...image, name: "mask" }] },
      "ensemble.inputs[1].name: received 'mask', which no step reads",
    ],
    [
      "an input given back",
      { ...good, outputs: [scores, image] },
      "ensemble.outputs[1].name: received the input 'image'",
    ],
    [
      "steps that wait for one another",
      {
        inputs: [image],
        outputs: [scores],
        steps: [
          { name: "a", model: "m", inputs: { x: "image", z: "two" }, outputs: { y: "one" } },
          { name: "b", model: "m", inputs: { x: "one" }, outputs: { y: "two", w: "scores" } },
        ],
      },
      "ensemble.steps: received a after b after a, expected no step that waits for itself",
    ],
    [
      "a step that reads what it writes",
      having({ name: "a", model: "m", inputs: { x: "image", z: "r" }, outputs: { r: "r", y: "scores" } }),
      "received a after a",
    ],
    [
      "an unknown operator",
      having({ name: "o", operators: [{ operator: "blur" }] }),
      "operators[0].operator",
    ],
    [
      "an unknown option",
      having({ name: "o", operators: [{ operator: "cast", inputs: ["image"], as: "FP32" }] }),
      "ensemble.steps[0].operators[0].as: received a field that is not known",
    ],
    [
      "an option out of range",
      having({ name: "o", operators: [{ operator: "cast", inputs: ["image"], to: "BYTES" }] }),
      "ensemble.steps[0].operators[0].to",
    ],
    [
      "an option that is missing",
      having({ name: "o", operators: [{ operator: "cast", inputs: ["image"], outputs: ["scores"] }] }),
      "ensemble.steps[0].operators[0].to: received nothing",
    ],
    [
      "a first operator that reads nothing",
      having({ name: "o", operators: [{ operator: "flatten", outputs: ["scores"] }] }),
      "operators[0].inputs",
    ],
    [
      "a last operator that writes nothing",
      having({ name: "o", operators: [{ operator: "flatten", inputs: ["image"] }] }),
      "operators[0].outputs",
    ],
    [
      "an operator whose result is passed over",
      having({
        name: "o",
        operators: [
          { operator: "flatten", inputs: ["image"] },
          { operator: "flatten", inputs: ["image"], outputs: ["scores"] },
        ],
      }),
      "operators[0].outputs: received nothing, expected the names of the tensors it writes",
    ],
    [
      "an operator that reads what comes later",
      having({
        name: "o",
        operators: [
          { operator: "add", inputs: ["image", "late"], outputs: ["scores"] },
          { operator: "flatten", inputs: ["image"], outputs: ["late"] },
        ],
      }),
      "operators[0].inputs: received 'late', which is written later in the same step",
    ],
  ])("refuses %s by name", (_, value, message) => {
    expect(() => readEnsemble(value)).toThrow(InvalidInputError);
    expect(() => readEnsemble(value)).toThrow(message);
  });

  test("names of Object's own are tensors like others", () => {
    const odd = JSON.parse(
      '{"inputs":[{"name":"__proto__","datatype":"FP32","shape":[-1]}],' +
        '"outputs":[{"name":"constructor","datatype":"FP32","shape":[-1]}],' +
        '"steps":[{"name":"s","model":"m","inputs":{"__proto__":"__proto__"},"outputs":{"toString":"constructor"}}]}',
    );
    const { steps } = readEnsemble(odd);
    expect(Object.entries((steps[0] as { inputs: object }).inputs)).toEqual([["__proto__", "__proto__"]]);
  });

  test("20,000 specifications with something wrong are read, or refused as input, and never anything else", () => {
    const random = RandomStream.named(1, "specifications");
    const whole = {
      inputs: [image],
      outputs: [scores, { name: "label", datatype: "BYTES", shape: [-1] }],
      steps: [
        { ...pre },
        { ...classify, version: "3" },
        {
          name: "post",
          operators: [
            { operator: "topK", k: 1, inputs: ["scores"], outputs: ["best", "at"] },
            { operator: "reshape", shape: [-1], inputs: ["at"] },
            { operator: "lookUp", values: ["a", "b"], outputs: ["label"] },
            {
              operator: "pad",
              before: [0, 1],
              after: [0, 0],
              mode: "edge",
              inputs: ["best"],
              outputs: ["more"],
            },
          ],
        },
        { name: "end", operators: [{ operator: "flatten", inputs: ["more"], outputs: ["last"] }] },
      ],
    };
    const odd = [
      null,
      0,
      -1,
      1.5,
      Number.NaN,
      "",
      "x",
      "image",
      true,
      [],
      {},
      [null],
      { a: 1 },
      "__proto__",
      [[1]],
      1e308,
      5n,
    ];
    let read = 0;
    for (let i = 0; i < 20_000; i++) {
      const wrong = structuredClone(whole) as unknown;
      for (let faults = 1 + random.below(2); faults > 0; faults--) spoil(wrong, random, odd);
      try {
        const ensemble = readEnsemble(wrong);
        read++;
        // What is read can be planned, or is refused as a model.
        planEnsemble(ensemble, () => undefined);
      } catch (error) {
        if (!(error instanceof InvalidInputError || error instanceof InvalidModelError)) {
          expect({ wrong, error }).toBeUndefined();
        }
      }
    }
    expect(read).toBeGreaterThan(0);
  });
});

/** Replaces, removes, adds or doubles something somewhere inside. */
function spoil(value: unknown, random: RandomStream, odd: readonly unknown[]): void {
  const places: [Record<string, unknown>, string][] = [];
  const visit = (node: unknown): void => {
    if (typeof node !== "object" || node === null) return;
    for (const key of Object.keys(node)) {
      places.push([node as Record<string, unknown>, key]);
      visit((node as Record<string, unknown>)[key]);
    }
  };
  visit(value);
  const [node, key] = places[random.below(places.length)]!;
  const what = random.below(4);
  if (what === 0) delete node[key];
  else if (what === 1) node[`${key}s`] = node[key];
  else if (what === 2) node[key] = structuredClone(odd[random.below(odd.length)]);
  else {
    const [other, from] = places[random.below(places.length)]!;
    node[key] = structuredClone(other[from]);
  }
}
