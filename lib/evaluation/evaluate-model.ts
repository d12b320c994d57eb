/**
 * Scores a served ONNX model on examples: what is measured is the very file that will answer. An output that is
 * compared with classes is scored as a classifier, one that is compared with values by its errors.
 */

import * as ort from "onnxruntime-node";
import { bindExamples, type ColumnChoice } from "../data/bind-examples.ts";
import { classNames, type Examples, rowRange, rowsOf, type Target } from "../data/examples.ts";
import { CancelledError, errorMessage, InvalidModelError } from "../errors.ts";
import { classProbabilities } from "../metrics/class-probabilities.ts";
import { ClassificationTally } from "../metrics/classification.ts";
import { RegressionTally } from "../metrics/regression.ts";
import type { Evaluation, OutputEvaluation, OutputScores } from "../protocol/models.ts";
import { nativeCall } from "../runtime/native-call.ts";
import { signatureOf, toOrt } from "../runtime/ort-tensor.ts";
import { castArray } from "../tensor/cast.ts";
import type { TensorSpec } from "../tensor/tensor.ts";
import { withinRecord } from "./within-record.ts";

const MAX_BATCH_ROWS = 256;
const SESSION: ort.InferenceSession.SessionOptions = { logSeverityLevel: 3 };

export type EvaluationOptions = {
  /** What each output gives where it is compared with classes. @default "probabilities" */
  scores?: Readonly<Record<string, OutputScores>>;
  /** Which columns feed and which are compared with. @default by name */
  columns?: ColumnChoice;
  /** How many examples the model is given at a time, at the most. @default 256, which is the limit */
  batchSize?: number;
  /** Asked before every batch; true stops with `CancelledError`. */
  cancelled?: () => boolean;
};

/**
 * Outputs beyond the data's labels count as classes that never occur; one output tells two classes apart.
 * @throws {InvalidModelError} when the model cannot be loaded, or gives what cannot be scored or is not finite
 * @throws {InvalidInputError} when the examples do not fit it
 */
export async function evaluateModel(
  model: Uint8Array,
  examples: Examples,
  { scores = {}, columns, batchSize = MAX_BATCH_ROWS, cancelled = () => false }: EvaluationOptions = {},
): Promise<Evaluation> {
  const session = await nativeCall(() => ort.InferenceSession.create(model, SESSION)).catch(
    (error: unknown) => {
      throw new InvalidModelError("model", `cannot be loaded: ${errorMessage(error)}`);
    },
  );
  try {
    const { inputs, outputs } = signatureOf(session);
    const bound = bindExamples({ inputs: inputs.map(ofOne), outputs: outputs.map(ofOne) }, examples, columns);
    const tallies = outputs.map(({ name }, i) =>
      tallyOf(bound.targets[i]!, Object.hasOwn(scores, name) ? scores[name]! : "probabilities"),
    );
    const batchRows = Math.min(batchSize, MAX_BATCH_ROWS);
    for (let from = 0; from < bound.count; from += batchRows) {
      if (cancelled()) throw new CancelledError("The evaluation");
      const rows = rowRange(from, Math.min(from + batchRows, bound.count));
      const feeds = Object.fromEntries(
        inputs.map(({ name, datatype }, i) => {
          const column = bound.inputs[i]!;
          const data = castArray(rowsOf(column, rows), datatype);
          return [name, toOrt({ name, datatype, shape: [rows.length, ...column.shape], data })];
        }),
      );
      const given = await nativeCall(() => session.run(feeds));
      for (const [i, { name }] of outputs.entries())
        tallies[i]!.add(given[name]!, rowsOf(bound.targets[i]!, rows), from);
    }
    const each = outputs.map(({ name }, i): [string, OutputEvaluation] => [name, tallies[i]!.result()]);
    const first = each[0]![1];
    return withinRecord(each.length === 1 ? first : { ...first, outputs: Object.fromEntries(each) });
  } finally {
    await session.release();
  }
}

/** An end's shape for one example. @throws {InvalidModelError} when it has no batch dimension */
function ofOne({ name, shape }: TensorSpec): { name: string; shape: number[] } {
  if (shape[0] !== -1 && shape[0] !== undefined)
    throw new InvalidModelError(`'${name}'`, `has a fixed batch of ${shape[0]}, expected any`);
  if (shape.length === 0) throw new InvalidModelError(`'${name}'`, "has no batch dimension");
  return { name, shape: shape.slice(1) };
}

type Tally = {
  /** `target`: the batch's class numbers or values; `from`: its first example. */
  add(given: ort.Tensor, target: ArrayLike<number | bigint>, from: number): void;
  result(): OutputEvaluation;
};

function tallyOf({ labelNames, name }: Target, scores: OutputScores): Tally {
  if (!labelNames) {
    const tally = new RegressionTally();
    return {
      add(given, target, from) {
        tally.add(finiteOutputs(given, from), target, given.dims[0]);
      },
      result: () => tally.result(),
    };
  }
  let tally: ClassificationTally | undefined;
  return {
    add(given, target, from) {
      const data = finiteOutputs(given, from);
      const outputs = given.dims.at(-1)!;
      if (data.length !== target.length * outputs)
        throw new InvalidModelError(
          "model",
          `gives [${given.dims.join(",")}] for ${target.length} of '${name}', expected [..., classes] for each`,
        );
      tally ??= new ClassificationTally(classNames(labelNames, outputs));
      tally.add(classProbabilities(data, outputs, scores), Uint32Array.from(target, Number));
    },
    result: () => (tally ?? new ClassificationTally(labelNames)).result(),
  };
}

function finiteOutputs(given: ort.Tensor, from: number): Float32Array {
  if (given.type !== "float32") throw new InvalidModelError("model", `gives ${given.type}, expected float32`);
  const data = given.data as Float32Array;
  const wrong = data.findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return data;
  const perExample = data.length / given.dims[0]!;
  throw new InvalidModelError(
    "model",
    `gives ${data[wrong]} for example ${from + Math.floor(wrong / perExample)}`,
  );
}
