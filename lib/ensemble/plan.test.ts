import { InferenceSession, type Tensor as OrtTensor } from "onnxruntime-node";
import { InvalidModelError } from "../errors.ts";
import type { Ensemble, EnsembleStep, ModelStep, OperatorStep } from "../protocol/ensembles.ts";
import type { ModelSignature } from "../protocol/models.ts";
import { RandomStream } from "../random/stream.ts";
import { fromOrt, toOrt } from "../runtime/ort-tensor.ts";
import type { Tensor, TensorSpec } from "../tensor/tensor.ts";
import { wiringOf } from "./dataflow.ts";
import { executePlan, type RunNode } from "./execution.ts";
import { planEnsemble } from "./plan.ts";
import { readEnsemble } from "./read-ensemble.ts";

const spec = (name: string, shape = [-1, 4], datatype: TensorSpec["datatype"] = "FP32"): TensorSpec => ({
  name,
  datatype,
  shape,
});
const model = (name: string, reads: string, writes: string): ModelStep => ({
  name,
  model: "m",
  inputs: { x: reads },
  outputs: { y: writes },
});
const operators = (name: string, reads: string[], writes: string): OperatorStep => ({
  name,
  operators: [
    reads.length > 1
      ? { operator: "add", inputs: reads, outputs: [writes] }
      : { operator: "relu", inputs: reads, outputs: [writes] },
  ],
});
const signature: ModelSignature = { inputs: [spec("x")], outputs: [spec("y")] };
const ensemble = (steps: EnsembleStep[], output = "y", inputs = [spec("x")]): Ensemble =>
  readEnsemble({ inputs, outputs: [spec(output)], steps });
const shape = (steps: EnsembleStep[]) =>
  planEnsemble(ensemble(steps), () => signature).nodes.map(({ name, reads, writes }) =>
    [name, "of", ...reads, "is", ...writes].join(" "),
  );

describe("what is run", () => {
  test("joins operators that follow one another, and gives only what others read", () => {
    expect(
      shape([
        operators("a", ["x"], "a"),
        operators("b", ["a"], "b"),
        operators("c", ["a", "b"], "c"),
        model("m", "c", "y"),
      ]),
    ).toEqual(["a+b+c of x is c", "m of c is y"]);
  });

  test("keeps apart what waits for a model and what does not", () => {
    expect(
      shape([operators("a", ["x"], "a"), model("m", "a", "b"), operators("c", ["a", "b"], "y")]),
    ).toEqual(["a of x is a", "m of a is b", "c of a b is y"]);
    // The second model may begin before the first has ended.
    expect(
      shape([
        model("m", "x", "b"),
        operators("a", ["x"], "a"),
        model("n", "a", "c"),
        operators("d", ["b", "a"], "d"),
        operators("e", ["d", "c"], "y"),
      ]),
    ).toEqual(["m of x is b", "a of x is a", "n of a is c", "d of b a is d", "e of d c is y"]);
  });

  test("keeps apart what has nothing to do with one another", () => {
    expect(
      shape([operators("a", ["x"], "a"), operators("b", ["x"], "b"), operators("c", ["a", "b"], "y")]),
    ).toEqual(["a+b+c of x is y"]);
    expect(
      shape([
        operators("a", ["x"], "a"),
        operators("b", ["x"], "b"),
        model("m", "a", "c"),
        model("n", "b", "d"),
        operators("e", ["c", "d"], "y"),
      ]),
    ).toEqual(["a of x is a", "b of x is b", "m of a is c", "n of b is d", "e of c d is y"]);
  });

  test("is a graph that the runtime takes, whatever tensors are called", async () => {
    for (const name of ["const", "ints", "const_ints", "rows", "relu", "size", "values", "add_1", "é/ 猫"]) {
      const { nodes } = planEnsemble(
        ensemble([operators("a", ["x"], name), operators("b", ["x", name], "y")]),
        () => undefined,
      );
      const [node] = nodes;
      if (node?.kind !== "operators") throw new Error("no operators");
      const session = await InferenceSession.create(node.graph.model(), { logSeverityLevel: 4 });
      expect(session.outputNames).toEqual(["y"]);
      await session.release();
    }
  });
});

describe("steps that do not fit", () => {
  const refused = (steps: EnsembleStep[], known: ModelSignature | undefined, inputs = [spec("x")]) => {
    try {
      planEnsemble(ensemble(steps, "y", inputs), () => known);
    } catch (error) {
      expect(error).toBeInstanceOf(InvalidModelError);
      return (error as Error).message;
    }
    return "nothing";
  };

  test("their model are refused by name", () => {
    const steps = [model("m", "x", "y")];
    expect(refused(steps, signature)).toBe("nothing");
    expect(refused(steps, undefined)).toBe("nothing");
    expect(refused(steps, { ...signature, inputs: [spec("image")] })).toBe(
      "Invalid model at step 'm': model 'm' has no input 'x', only 'image'",
    );
    expect(refused(steps, { ...signature, outputs: [spec("z")] })).toBe(
      "Invalid model at step 'm': model 'm' has no output 'y', only 'z'",
    );
    expect(refused(steps, { ...signature, inputs: [spec("x"), spec("mask")] })).toBe(
      "Invalid model at step 'm': input 'mask' of model 'm' is given no tensor",
    );
    expect(refused(steps, { ...signature, inputs: [spec("x", [-1, 5])] })).toBe(
      "Invalid model at step 'm': input 'x' of model 'm' is FP32[-1,5], but tensor 'x' is FP32[-1,4]",
    );
    expect(refused(steps, { ...signature, inputs: [spec("x", [-1, 4], "FP64")] })).toContain("is FP64[-1,4]");
    expect(refused(steps, { ...signature, inputs: [spec("x", [-1, 4, 1])] })).toContain("is FP32[-1,4,1]");
    expect(refused(steps, { ...signature, outputs: [spec("y", [-1, 2])] })).toBe(
      "Invalid model at output 'y' of the ensemble: it is declared as FP32[-1,4], but the step gives FP32[-1,2]",
    );
  });

  test("one another are refused where they meet", () => {
    const steps = [operators("a", ["x", "z"], "y")];
    expect(refused(steps, undefined, [spec("x"), spec("z", [-1, 3])])).toContain(
      "step 'a', operator 0 (add): Add: shapes",
    );
  });

  test("are not known where operators read what an unknown model gives", () => {
    expect(refused([model("m", "x", "a"), operators("o", ["a"], "y")], undefined)).toBe(
      "Invalid model at step 'o': the type of tensor 'a' is not known: the model that gives it has no known signature",
    );
  });
});

test("200 random graphs of operators give together what they give one by one", async () => {
  const pool = ["add", "multiply", "max", "subtract", "mean"] as const;
  for (let seed = 0; seed < 200; seed++) {
    const random = RandomStream.named(seed, "operators");
    const tensors = ["x", "z"];
    const steps: EnsembleStep[] = Array.from({ length: 2 + random.below(6) }, (_, i) => {
      const pick = () => tensors[random.below(tensors.length)]!;
      const [a, b, name] = [pick(), pick(), `t${i}`];
      tensors.push(name);
      // A model every now and then: what waits for it must not be joined with what does not.
      if (random.below(4) === 0) return model(`m${i}`, a, name);
      const first = { operator: pool[random.below(pool.length)]!, inputs: [a, b] };
      return { name: `o${i}`, operators: [first, { operator: "tanh", outputs: [name] }] };
    });
    const reads = new Set(steps.flatMap((step) => wiringOf(step).reads));
    const inputs = ["x", "z"].filter((name) => reads.has(name)).map((name) => spec(name));
    const outputs = tensors
      .slice(2)
      .filter((name) => !reads.has(name))
      .map((name) => spec(name));
    const written = readEnsemble({ inputs, outputs, steps: steps.toSorted(() => random.below(3) - 1) });
    const values = inputs.map(({ name }, i) => ({
      ...spec(name, [2, 4]),
      data: Float32Array.from({ length: 8 }, () => random.normal() + i),
    }));
    const plan = planEnsemble(written, () => signature);
    const together = await executePlan(plan, values, undefined, running(runNode));
    // Each step on its own, in the order they were thought of.
    const made = new Map<string, Tensor>(values.map((tensor) => [tensor.name, tensor]));
    for (const step of steps) {
      const alone = planEnsemble(
        {
          inputs: wiringOf(step).reads.map((name) => spec(name)),
          outputs: wiringOf(step).writes.map((name) => spec(name)),
          steps: [step],
        },
        () => signature,
      );
      const given = alone.inputs.map(({ name }) => made.get(name)!);
      for (const tensor of await executePlan(alone, given, undefined, running(runNode)))
        made.set(tensor.name, tensor);
    }
    for (const tensor of together) {
      const expected = made.get(tensor.name)!.data as Float32Array;
      // The runtime may fuse neighbours into kernels that round once where two round twice.
      for (const [i, value] of (tensor.data as Float32Array).entries())
        expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(1e-6);
    }
  }
}, 120_000);

const running = (run: RunNode) => ({
  run,
  what: "it",
  deadlineMs: Number.POSITIVE_INFINITY,
  now: () => 0,
  after: () => ({ cancel() {} }),
});

/** Operators by the runtime; the model is `y = 1 - x`. */
const runNode: RunNode = async (node, tensors) => {
  if (node.kind === "model") {
    const { data } = tensors.get(node.reads[0]!)!;
    return [{ ...spec(node.writes[0]!, [2, 4]), data: (data as Float32Array).map((x) => 1 - x) }];
  }
  const session = await InferenceSession.create(node.graph.model(), { logSeverityLevel: 4 });
  const results = await session.run(
    Object.fromEntries([...tensors].map(([name, tensor]) => [name, toOrt(tensor) as OrtTensor])),
  );
  const outputs = node.writes.map((name) => fromOrt(name, results[name]!));
  await session.release();
  return outputs;
};
