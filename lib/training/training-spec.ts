/**
 * Reads what a caller of `trainer.start` sent: fills defaults and refuses anything that could not run, before a job
 * exists and before any data is read.
 */

import { InvalidInputError, InvalidModelError } from "../errors.ts";
import { kerasObject } from "../nn/config-reader.ts";
import { type Network, parseNetwork } from "../nn/network.ts";
import { shown } from "../nn/shown.ts";
import { optimizerOf } from "../optim/table.ts";
import { ENGINES, type EngineName, type KerasObject, type TrainingSpec } from "../protocol/jobs.ts";
import { CallbackList, figuresOf } from "./callbacks/callback-list.ts";
import { assertPlainData } from "./plain-data.ts";
import { objectiveOf, readLosses } from "./read-objective.ts";
import { planWeights, type WeightPlan } from "./step-graph.ts";
import { readForTfjs } from "./tfjs/read-for-tfjs.ts";
import { readInitialWeights } from "./weight-source.ts";

/** As the registry takes them. */
const MODEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const DEFAULTS = {
  loss: "sparse_categorical_crossentropy",
  optimizer: "Adam",
  epochs: 1,
  batchSize: 32,
  seed: 0,
  promote: true,
};
/** Each may keep a copy of the weights. */
const MAX_CALLBACKS = 16;
/** A record holds a megabyte at the most, and the job's and the version's have more to say. */
const MAX_SPEC_BYTES = 500_000;
/** One ONNX file holds them all, and is a protobuf: shorter than 2 GiB. */
const MAX_WEIGHT_BYTES = 2 ** 31 - 2 ** 20;
const KNOWN = [
  "model",
  "architecture",
  "data",
  "loss",
  "lossWeights",
  "classWeights",
  "optimizer",
  "engine",
  "callbacks",
  "epochs",
  "batchSize",
  "seed",
  "initialWeights",
  "checkpointSeconds",
  "promote",
];
const KNOWN_DATA = ["dataset", "trainLimit", "testLimit", "validationSplit", "inputs", "targets"];
/** The fields that have fields of their own, but the architecture, which may come as text. */
const STRUCTURED = ["loss", "lossWeights", "classWeights", "optimizer", "callbacks", "initialWeights"];

/** @throws {InvalidInputError} {InvalidModelError} {UnknownLayerError} {UnknownComponentError} */
export function parseTrainingSpec(value: unknown): TrainingSpec {
  const given = record(value, "training request");
  refuseUnknown(given, KNOWN, "training request");
  const data = record(given.data, "data");
  refuseUnknown(data, KNOWN_DATA, "data");

  const model = given.model;
  if (typeof model !== "string" || !MODEL_NAME.test(model))
    return refuse("model", model, "1 to 64 letters, digits, dots, - or _, beginning with a letter or digit");
  if (typeof data.dataset !== "string" || data.dataset === "")
    return refuse("data.dataset", data.dataset, 'a data set name such as "mnist"');
  const share = data.validationSplit ?? 0;
  if (typeof share !== "number" || !(share >= 0 && share < 1))
    return refuse("data.validationSplit", share, "a number from 0 to below 1");
  const promote = given.promote ?? DEFAULTS.promote;
  if (typeof promote !== "boolean") return refuse("promote", promote, "true or false");
  for (const name of STRUCTURED) assertPlainData(given[name], name);
  for (const name of ["inputs", "targets"] as const) assertPlainData(data[name], `data.${name}`);
  const loss = readLosses(given.loss ?? DEFAULTS.loss);
  const weighed = {
    ...optional("lossWeights", given.lossWeights, readNumbers),
    ...optional("classWeights", given.classWeights, readNumbers),
  };

  const architecture =
    typeof given.architecture === "string" ? parseJson(given.architecture) : given.architecture;
  assertPlainData(architecture, "architecture");
  const network = parseNetwork(architecture);
  const plan = planWeights(network);
  assertTrainable(network, plan);
  objectiveOf({ loss, ...weighed }, network, plan);
  const optimizer = given.optimizer ?? DEFAULTS.optimizer;
  const { learningRate } = optimizerOf(optimizer);
  const engine = optional("engine", given.engine, readEngine);
  if (engine.engine === "tfjs")
    readForTfjs({ architecture, loss, optimizer, seed: 0 } as Parameters<typeof readForTfjs>[0]);
  const callbacks = readCallbacks(given.callbacks);
  // Which outputs have an accuracy is up to the data; everything else is known by now.
  const outputs = network.outputs.map(({ name }) => ({ name, isClasses: true }));
  new CallbackList(callbacks, learningRate).assertMonitored(figuresOf(outputs, share > 0));

  return assertFitsRecord({
    model,
    architecture: architecture as TrainingSpec["architecture"],
    data: {
      dataset: data.dataset,
      validationSplit: share,
      ...limit(data, "trainLimit"),
      ...limit(data, "testLimit"),
      ...optional("inputs", data.inputs, readNames),
      ...optional("targets", data.targets, readNames),
    },
    loss,
    ...weighed,
    optimizer: optimizer as TrainingSpec["optimizer"],
    ...engine,
    ...(callbacks.length > 0 ? { callbacks } : {}),
    epochs: integer(given.epochs ?? DEFAULTS.epochs, "epochs", 1, 100_000),
    batchSize: integer(given.batchSize ?? DEFAULTS.batchSize, "batchSize", 1, 65_536),
    seed: integer(given.seed ?? DEFAULTS.seed, "seed", 0, 2 ** 32 - 1),
    ...optional("initialWeights", given.initialWeights, readInitialWeights),
    ...(given.checkpointSeconds === undefined
      ? {}
      : { checkpointSeconds: seconds(given.checkpointSeconds, "checkpointSeconds") }),
    promote,
  });
}

/** @throws {InvalidModelError} */
function assertTrainable({ outputs }: Network, { trainedLayout, statisticsLayout }: WeightPlan): void {
  if (trainedLayout.size === 0)
    throw new InvalidModelError("architecture", "the network has no weights to train");
  const weightBytes = 4 * (trainedLayout.size + statisticsLayout.size);
  if (weightBytes > MAX_WEIGHT_BYTES)
    throw new InvalidModelError(
      "architecture",
      `its weights take ${weightBytes} bytes, expected at most ${MAX_WEIGHT_BYTES}, as an ONNX file can hold`,
    );
  // ONNX Runtime keeps what is asked for in an object.
  if (outputs.some(({ name }) => name === "__proto__"))
    throw new InvalidModelError("layer '__proto__'", "an output needs another name");
}

/** What is accepted can be kept, until the end of the job and as the lineage of a version. */
function assertFitsRecord(spec: TrainingSpec): TrainingSpec {
  const bytes = Buffer.byteLength(JSON.stringify(spec));
  return bytes <= MAX_SPEC_BYTES
    ? spec
    : refuse("training request", `${bytes} bytes of JSON`, `at most ${MAX_SPEC_BYTES} bytes`);
}

function readCallbacks(value: unknown): KerasObject[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > MAX_CALLBACKS)
    return refuse(
      "callbacks",
      value,
      `a list of at most ${MAX_CALLBACKS} callbacks {"class_name", "config"}`,
    );
  return value.map((callback, i) => kerasObject(callback, `callbacks[${i}]`));
}

/** `{name: value}`, read, or nothing where it is not given. */
function optional<N extends string, T>(
  name: N,
  value: unknown,
  read: (value: unknown, field: string) => T,
): Partial<Record<N, T>> {
  return value === undefined ? {} : ({ [name]: read(value, name) } as Record<N, T>);
}

function readEngine(value: unknown, field: string): EngineName {
  const known = ENGINES.find((name) => name === value);
  return known ?? refuse(field, value, `one of ${ENGINES.join(", ")}`);
}

/** Column names by input or output name. */
function readNames(value: unknown, field: string): Record<string, string> {
  const given = record(value, `data.${field}`);
  for (const [name, column] of Object.entries(given))
    if (typeof column !== "string" || column === "")
      refuse(`data.${field}.${name}`, column, "the name of a column of the data set");
  return given as Record<string, string>;
}

/** Numbers by name, or a list; what they may be named and be is up to the objective. */
function readNumbers(value: unknown, field: string): Record<string, number> {
  if (Array.isArray(value) && field === "lossWeights") return value as unknown as Record<string, number>;
  return record(value, field) as Record<string, number>;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return refuse("architecture", "a string that is not JSON", "Keras JSON, as text or as an object");
  }
}

function limit(data: Record<string, unknown>, name: "trainLimit" | "testLimit"): Record<string, number> {
  const value = data[name];
  return value === undefined ? {} : { [name]: integer(value, `data.${name}`, 1, Number.MAX_SAFE_INTEGER) };
}

function integer(value: unknown, field: string, min: number, max: number): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) return value;
  return refuse(field, value, `an integer from ${min} to ${max}`);
}

/** Short enough to count in a test, long enough to mean "never". */
function seconds(value: unknown, field: string): number {
  if (typeof value === "number" && value >= 0.01 && value <= 1e6) return value;
  return refuse(field, value, "a number from 0.01 to 1000000");
}

function record(value: unknown, field: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  return refuse(field, value, "an object");
}

function refuseUnknown(given: Record<string, unknown>, known: readonly string[], field: string): void {
  for (const name of Object.keys(given))
    if (!known.includes(name))
      refuse(`${field}.${name}`, given[name], `no such field; known: ${known.join(", ")}`);
}

function refuse(field: string, received: unknown, expected: string): never {
  throw new InvalidInputError({
    field,
    received: shown(received),
    expected,
  });
}
