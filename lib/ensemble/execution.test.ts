/**
 * Random graphs of steps, run in parallel with steps that end in any order, against one that runs them one after
 * another; and failures, deadlines and callers that leave at any moment.
 */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { DeadlineExceededError, errorType, InvalidInputError } from "../errors.ts";
import type { Ensemble, EnsembleStep } from "../protocol/ensembles.ts";
import { RandomStream } from "../random/stream.ts";
import type { Tensor, TensorSpec } from "../tensor/tensor.ts";
import { type ExecutionOptions, executePlan, type RunNode } from "./execution.ts";
import { type Plan, type PlanNode, planEnsemble } from "./plan.ts";
import { readEnsemble } from "./read-ensemble.ts";
import { StepError } from "./step-error.ts";

const spec = (name: string): TensorSpec => ({ name, datatype: "FP64", shape: [1] });
const number = (name: string, value: number): Tensor => ({ ...spec(name), data: Float64Array.of(value) });
const numberIn = ({ data }: Tensor) => data[0] as number;

/** A model step that reads some tensors and writes one. */
const step = (name: string, reads: readonly string[], ...writes: string[]): EnsembleStep => ({
  name,
  model: "m",
  inputs: Object.fromEntries(reads.map((tensor, i) => [`in${i}`, tensor])),
  outputs: Object.fromEntries(writes.map((tensor, i) => [`out${i}`, tensor])),
});
const planned = (inputs: string[], outputs: string[], steps: EnsembleStep[]): Plan =>
  planEnsemble(
    readEnsemble({ inputs: inputs.map(spec), outputs: outputs.map(spec), steps }),
    () => undefined,
  );

/** What a node gives: a number that depends on its name, what it reads, and in which order. */
const compute = ({ name, writes }: PlanNode, inputs: ReadonlyMap<string, Tensor>): Tensor[] => {
  let value = name.length + name.charCodeAt(name.length - 1);
  for (const input of inputs.values()) value = (value * 31 + numberIn(input)) % 1_000_003;
  return writes.map((tensor, i) => number(tensor, value + i));
};
const timers = {
  now: () => performance.now(),
  after(delayMs: number, action: () => void) {
    const timer = setTimeout(action, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
const options = (run: RunNode, more: Partial<ExecutionOptions> = {}): ExecutionOptions => ({
  run,
  what: "Ensemble 'e'",
  deadlineMs: Number.POSITIVE_INFINITY,
  ...timers,
  ...more,
});

/** A random graph: every tensor nobody reads is an output. */
function randomEnsemble(random: RandomStream): Ensemble {
  const inputs = Array.from({ length: 1 + random.below(3) }, (_, i) => `input${i}`);
  const tensors = [...inputs];
  const steps = Array.from({ length: 1 + random.below(12) }, (_, i) => {
    const reads = Array.from({ length: 1 + random.below(4) }, () => tensors[random.below(tensors.length)]!);
    const writes = Array.from({ length: 1 + random.below(2) }, (_, w) => `t${i}.${w}`);
    tensors.push(...writes);
    return step(`s${i}`, [...new Set(reads)], ...writes);
  });
  const read = new Set(steps.flatMap((one) => ("model" in one ? Object.values(one.inputs) : [])));
  const outputs = tensors.slice(inputs.length).filter((tensor) => !read.has(tensor) || random.below(4) === 0);
  return readEnsemble({
    inputs: inputs.filter((tensor) => read.has(tensor)).map(spec),
    outputs: outputs.map(spec),
    // In any order: who reads what decides.
    steps: steps.toSorted(() => random.below(3) - 1),
  });
}

/** One step after another, in the order they were thought of. */
function sequentially({ inputs, outputs, steps }: Ensemble): number[] {
  const tensors = new Map(inputs.map(({ name }, i) => [name, number(name, i + 1)]));
  const inOrder = steps.toSorted((a, b) => Number(a.name.slice(1)) - Number(b.name.slice(1)));
  for (const one of inOrder) {
    if (!("model" in one)) throw new Error("only models here");
    const reads = Object.values(one.inputs);
    const node = { name: one.name, writes: Object.values(one.outputs) } as PlanNode;
    for (const tensor of compute(node, new Map(reads.map((name) => [name, tensors.get(name)!]))))
      tensors.set(tensor.name, tensor);
  }
  return outputs.map(({ name }) => numberIn(tensors.get(name)!));
}

test("500 random graphs give what they give one step after another, whichever steps end first", async () => {
  for (let seed = 0; seed < 500; seed++) {
    const random = RandomStream.named(seed, "ensemble");
    const ensemble = randomEnsemble(random);
    const plan = planEnsemble(ensemble, () => undefined);
    const written = new Set(ensemble.inputs.map(({ name }) => name));
    const ran: string[] = [];
    const run: RunNode = async (node, inputs) => {
      expect([...inputs.keys()].every((tensor) => written.has(tensor))).toBe(true);
      ran.push(node.name);
      for (let turns = random.below(5); turns > 0; turns--) await new Promise(setImmediate);
      for (const tensor of node.writes) written.add(tensor);
      return compute(node, inputs);
    };
    const inputs = ensemble.inputs.map(({ name }, i) => number(name, i + 1));
    const expected = sequentially(ensemble);
    const answer = await executePlan(plan, inputs, undefined, options(run));
    expect({ seed, values: answer.map(numberIn) }).toEqual({ seed, values: expected });
    expect(ran.toSorted()).toEqual(plan.nodes.map(({ name }) => name).toSorted());

    const at = random.below(expected.length);
    const wanted = ensemble.outputs[at]!.name;
    const [one] = await executePlan(
      plan,
      inputs,
      [wanted],
      options(async (...of) => compute(of[0], of[1])),
    );
    expect([one!.name, numberIn(one!)]).toEqual([wanted, expected[at]]);
  }
});

describe("steps", () => {
  const diamond = planned(
    ["x"],
    ["y"],
    [step("a", ["x"], "a"), step("b", ["a"], "b"), step("c", ["a"], "c"), step("d", ["b", "c"], "y")],
  );

  test("run at once where neither waits for the other", async () => {
    const begun: string[] = [];
    const both = Promise.withResolvers<void>();
    await executePlan(
      diamond,
      [number("x", 1)],
      undefined,
      options(async (node, inputs) => {
        begun.push(node.name);
        if (begun.length === 3) both.resolve();
        if (node.name === "b" || node.name === "c") await both.promise;
        return compute(node, inputs);
      }),
    );
    expect(begun).toEqual(["a", "b", "c", "d"]);
  });

  test("that nobody's wanted output comes from are not run", async () => {
    const plan = planned(["x"], ["one", "two"], [step("a", ["x"], "one"), step("b", ["x"], "two")]);
    const ran: string[] = [];
    const run: RunNode = async (node, inputs) => {
      ran.push(node.name);
      return compute(node, inputs);
    };
    await executePlan(plan, [number("x", 1)], ["two"], options(run));
    expect(ran).toEqual(["b"]);
  });

  test("that fail end the others, and are named with what happened", async () => {
    const fault = new InvalidInputError({ field: "inputs", received: "1", expected: "2" });
    const signals: AbortSignal[] = [];
    const run: RunNode = (node, inputs, { signal }) => {
      if (node.name === "a") return Promise.resolve(compute(node, inputs));
      signals.push(signal);
      return node.name === "b" ? new Promise(() => {}) : Promise.reject(fault);
    };
    const error = await executePlan(diamond, [number("x", 1)], undefined, options(run)).catch((e) => e);
    expect(error).toBeInstanceOf(StepError);
    expect(error.message).toBe(`Step 'c': ${fault.message}`);
    expect([error.code, error.type, error.retryable]).toEqual([400, "INVALID_INPUT", false]);
    expect(error.data).toEqual({ ...fault.data, step: "c" });
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
  });

  test("have the time that is left, and are ended when it is over", async () => {
    const left: number[] = [];
    let now = 1000;
    let late = () => {};
    let cancelled = 0;
    const answer = executePlan(
      diamond,
      [number("x", 1)],
      undefined,
      options(
        (node, inputs, { deadlineMs }) => {
          left.push(deadlineMs);
          now += 30;
          return node.name === "c" ? new Promise(() => {}) : Promise.resolve(compute(node, inputs));
        },
        {
          deadlineMs: 100,
          now: () => now,
          after: (delayMs, action) => {
            expect(delayMs).toBe(100);
            late = action;
            return { cancel: () => void cancelled++ };
          },
        },
      ),
    );
    await new Promise(setImmediate);
    late();
    const error = await answer.catch((e) => e);
    expect(error).toBeInstanceOf(DeadlineExceededError);
    expect(error.message).toBe("Ensemble 'e', in step 'c', did not finish within 100 ms");
    expect(left).toEqual([100, 70, 40]);
    expect(cancelled).toBe(1);
  });

  test("are ended when the caller leaves, or never begun", async () => {
    const caller = new AbortController();
    const signals: AbortSignal[] = [];
    const run: RunNode = (_, __, { signal }) => {
      signals.push(signal);
      return new Promise(() => {});
    };
    const waiting = executePlan(
      diamond,
      [number("x", 1)],
      undefined,
      options(run, { signal: caller.signal }),
    );
    caller.abort();
    expect(await waiting.catch(errorType)).toBe("CANCELLED");
    expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
    const late = executePlan(diamond, [number("x", 1)], undefined, options(run, { signal: caller.signal }));
    expect(await late.catch(errorType)).toBe("CANCELLED");
    const past = executePlan(diamond, [number("x", 1)], undefined, options(run, { deadlineMs: 0 }));
    expect(await past.catch(errorType)).toBe("DEADLINE_EXCEEDED");
    expect(signals).toHaveLength(1);
  });

  test("let go of tensors that nobody will read again", async () => {
    const chain = planned(
      ["x"],
      ["y"],
      [step("a", ["x"], "a"), step("b", ["a"], "b"), step("c", ["b"], "y")],
    );
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const held: WeakRef<Tensor>[] = [];
    const freed: boolean[] = [];
    await executePlan(
      chain,
      [number("x", 1)],
      undefined,
      options(async (node, inputs) => {
        if (node.name === "c") {
          // Weak references are kept until the end of the turn in which they were read or made.
          for (let i = 0; i < 20 && held[0]!.deref(); i++) {
            await new Promise((resolve) => setTimeout(resolve, 10));
            collect();
          }
          freed.push(held[0]!.deref() === undefined, held[1]!.deref() !== undefined);
        }
        const written = compute(node, inputs);
        held.push(new WeakRef(written[0]!));
        return written;
      }),
    );
    expect(freed).toEqual([true, true]);
  });
});
