/**
 * Weights from files: those that Keras 3.15 wrote, in each of its three kinds and without the names that Keras 3.0 did
 * not write, give Keras's own predictions; the
 * other kinds give back what was written; and what does not fit is refused by name.
 */

import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-node";
import { InvalidModelError } from "../errors.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { compileInference } from "../nn/inference-graph.ts";
import { parseNetwork } from "../nn/network.ts";
import { kerasWeightShape } from "../nn/weight-order.ts";
import { digestOf } from "../store/digest.ts";
import { loadWeights } from "./load-weights.ts";
import { planWeights } from "./step-graph.ts";
import { takeWeights } from "./take-weights.ts";
import { readWeightFile } from "./weight-file.ts";
import { initialWeights, namedWeights } from "./weight-layout.ts";
import { readInitialWeights } from "./weight-source.ts";

type Values = { shape: number[]; data: number[] };
type Saved = { architecture: unknown; x: Values; y: Values };

const FOLDER = new URL("../../test/fixtures/keras/", import.meta.url);
const read = (file: string) => new Uint8Array(readFileSync(new URL(file, FOLDER)));
const SAVED = JSON.parse(readFileSync(new URL("pretrained.json", FOLDER), "utf8")) as Record<
  "images" | "sequences",
  Saved
>;

function plannedOf(name: keyof typeof SAVED) {
  const network = parseNetwork(SAVED[name].architecture);
  const plan = planWeights(network);
  return { network, specs: [...plan.trained, ...plan.statistics], plan };
}

/** A network of two dense layers, of `sizes` units. */
function dense(name: string, ...sizes: number[]) {
  const layers = sizes.map((units, i) => ({ class_name: "Dense", config: { name: `${name}${i}`, units } }));
  const input = { class_name: "InputLayer", config: { batch_shape: [null, 2] } };
  const config = { name: "net", layers: [input, ...layers] };
  return planWeights(parseNetwork({ class_name: "Sequential", config })).trained;
}

const ones = (shape: number[]) => ({
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1),
});

/** A file of the given tensors, all ones. */
function tensors(shapes: Record<string, number[]>) {
  const arrays = new Map(Object.entries(shapes).map(([name, shape]) => [name, ones(shape)]));
  return readWeightFile(writeSafetensors(arrays, {}));
}

const TWO = { "a0/kernel": [2, 3], "a0/bias": [3], "a1/kernel": [3, 1], "a1/bias": [1] };

describe("a file that Keras wrote", () => {
  const cases = (["images", "sequences"] as const).flatMap((name) =>
    [".keras", ".weights.h5", ".h5", "-unnamed.keras", "-unnamed.weights.h5"].map(
      (kind) => [name, kind] as const,
    ),
  );
  test.each(cases)("pretrained-%s%s gives Keras's predictions", async (name, kind) => {
    const { network, specs } = plannedOf(name);
    const file = readWeightFile(read(`pretrained-${name}${kind}`), SAVED[name].architecture as object);
    const { values, fresh } = takeWeights(specs, file, {});
    expect(fresh).toEqual([]);
    const weights = new Map(
      specs.map(({ name: weight, shape }) => [weight, { shape, data: values.get(weight)! }]),
    );
    const { bytes } = compileInference(network, weights);
    const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 });
    const { x, y } = SAVED[name];
    const results = await session.run({
      [network.inputs[0]!.name]: new ort.Tensor("float32", Float32Array.from(x.data), x.shape),
    });
    const received = results[network.outputs[0]!.name]!;
    expect(received.dims).toEqual(y.shape);
    y.data.forEach((value, i) => {
      expect(received.data[i]).toBeCloseTo(value, 5);
    });
    await session.release();
  });

  test.each([".keras", ".weights.h5"])(
    "that is cut short (%s) is refused as a file, not as a crash",
    (kind) => {
      const bytes = read(`pretrained-images${kind}`);
      for (const share of [0.1, 0.5, 0.9])
        expect(() => readWeightFile(bytes.slice(0, bytes.length * share))).toThrow(InvalidModelError);
    },
  );
});

describe("files of other kinds", () => {
  test("an ONNX model as Moiety serves it gives its weights back to the bit", () => {
    const { network, specs, plan } = plannedOf("images");
    const drawn = new Map([
      ...namedWeights(plan.trainedLayout, initialWeights(plan.trained, plan.trainedLayout, 3)),
      ...namedWeights(plan.statisticsLayout, initialWeights(plan.statistics, plan.statisticsLayout, 3)),
    ]);
    const file = readWeightFile(compileInference(network, drawn).bytes);
    expect(file.format).toBe("ONNX");
    const { values } = takeWeights(specs, file, { allowMissing: false });
    for (const [name, { data }] of drawn) expect(values.get(name)).toEqual(data);
  });

  test("safetensors hold Keras's order of axes, a checkpoint of Moiety its own", () => {
    const { specs } = plannedOf("images");
    const kernel = specs.find(({ name }) => name === "stem/kernel")!;
    const data = Float32Array.from({ length: 72 }, (_, i) => i);
    const take = (prefix: string, shape: number[], metadata: Record<string, string>) => {
      const bias = ones([4]);
      const file = writeSafetensors(
        new Map([
          [`${prefix}stem/kernel`, { shape, data }],
          [`${prefix}stem/bias`, bias],
        ]),
        metadata,
      );
      return takeWeights(specs, readWeightFile(file), {}).values.get("stem/kernel")!;
    };
    expect(kernel.shape).toEqual([4, 3, 3, 2]);
    expect(take("weights/", kernel.shape, { format: "moiety-checkpoint-1" })).toEqual(data);
    // [height, width, channel, filter] of Keras: the second element is of the second filter.
    expect([...take("", kerasWeightShape(kernel), {}).slice(0, 2)]).toEqual([0, 12]);
  });

  test("anything else is refused, saying what is read", () => {
    expect(() => readWeightFile(new TextEncoder().encode("no weights at all"))).toThrow(
      /none of Keras, HDF5, safetensors and ONNX/,
    );
  });
});

describe("layers", () => {
  test("that the file does not have begin afresh, and both kinds are reported", () => {
    const { values, taken, fresh } = takeWeights(dense("a", 3, 1, 4), tensors(TWO), {});
    expect({ taken, fresh }).toEqual({ taken: ["a0", "a1"], fresh: ["a2"] });
    expect([...values.keys()]).toEqual(["a0/kernel", "a0/bias", "a1/kernel", "a1/bias"]);
  });

  test("may be chosen, left out, or all demanded", () => {
    const take = (choice: object) => takeWeights(dense("a", 3, 1, 4), tensors(TWO), choice).taken;
    expect(take({ layers: ["a1"] })).toEqual(["a1"]);
    expect(take({ skip: ["a1"] })).toEqual(["a0"]);
    expect(take({ layers: ["a0", "a2"], allowMissing: true })).toEqual(["a0"]);
    expect(() => take({ layers: ["a0", "a2"] })).toThrow(/layer 'a2'.*the file has none.*'a0', 'a1'/);
    expect(() => take({ allowMissing: false })).toThrow(/layer 'a2'/);
    expect(() => take({ layers: ["b0"] })).toThrow(/initialWeights.layers.*'b0'.*'a0', 'a1', 'a2'/);
  });

  test("of other shapes are refused by name, unless they are to be skipped", () => {
    const other = tensors({ ...TWO, "a1/kernel": [3, 5], "a1/bias": [5] });
    expect(() => takeWeights(dense("a", 3, 1), other, {})).toThrow(
      /layer 'a1'.*'a1\/kernel' is \[3,5\] in the file, the network takes \[3,1\]; name the layer in initialWeights.skip/,
    );
    expect(takeWeights(dense("a", 3, 1), other, { skip: ["a1"] }).taken).toEqual(["a0"]);
    const { "a1/bias": _, ...without } = TWO;
    expect(() => takeWeights(dense("a", 3, 1), tensors(without), {})).toThrow(
      /layer 'a1'.*the file has 1 weights \(kernel\[3,1\]\), the network takes 2 \(kernel\[3,1\], bias\[1\]\)/,
    );
  });

  test("must match at least once", () => {
    expect(() => takeWeights(dense("b", 3, 1), tensors(TWO), {})).toThrow(
      /no layer of the network takes any: it has 'b0', 'b1', the file 'a0', 'a1'/,
    );
  });

  test("with weights that are no numbers are refused", () => {
    const weights = new Map(Object.entries(TWO).map(([name, shape]) => [name, ones(shape)]));
    weights.get("a1/bias")!.data[0] = Number.NaN;
    expect(() => takeWeights(dense("a", 3, 1), readWeightFile(writeSafetensors(weights, {})), {})).toThrow(
      /'a1\/bias' has elements that are no numbers/,
    );
  });
});

describe("a job", () => {
  const bytes = writeSafetensors(
    new Map(Object.entries(TWO).map(([name, shape]) => [name, ones(shape)])),
    {},
  );
  const artifact = `sha256:${"0".repeat(64)}`;
  const load = (digest: string | undefined) =>
    loadWeights(
      dense("a", 3, 1),
      { spec: { artifact }, artifact, digest },
      { artifacts: { get: async () => bytes }, datasetsDirectory: undefined },
    );

  test("records what it started from, and goes on from nothing else", async () => {
    const digest = await digestOf(bytes);
    const { record } = await load(undefined);
    expect(record).toEqual({
      source: { artifact },
      digest,
      format: "safetensors",
      taken: ["a0", "a1"],
      fresh: [],
    });
    await expect(load(digest)).resolves.toBeDefined();
    await expect(load(artifact)).rejects.toMatchObject({ type: "INVALID_INPUT" });
  });

  test.each([
    [{}, /exactly one of model, file, artifact/],
    [{ model: "m", file: "f.h5" }, /exactly one/],
    [{ file: "../secret.h5" }, /initialWeights.file/],
    [{ file: "/etc/weights.h5" }, /initialWeights.file/],
    [{ file: "a/.hidden" }, /initialWeights.file/],
    [{ file: "f.h5", version: 1 }, /none without a model/],
    [{ model: "m", version: 1.5 }, /initialWeights.version/],
    [{ artifact: "sha256:1" }, /initialWeights.artifact/],
    [{ file: "f.h5", layers: "a" }, /initialWeights.layers/],
    [{ file: "f.h5", layer: ["a"] }, /no such field/],
    [{ file: "f.h5", allowMissing: 1 }, /true or false/],
    ["f.h5", /an object/],
  ])("is refused for %j", (given, message) => {
    expect(() => readInitialWeights(given)).toThrow(message);
  });

  test("may name a version by number or alias, and files in folders", () => {
    const good = [
      { model: "m" },
      { model: "m", version: 3 },
      { model: "m", version: "production" },
      { file: "base/v1.weights.h5", skip: ["head"], allowMissing: true },
    ];
    for (const given of good) expect(readInitialWeights(given)).toEqual(given);
  });
});
