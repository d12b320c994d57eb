/** The REPL's own commands, beside Moleculer's: models, jobs, train, predict. */

import type { ServiceBroker } from "moleculer";
import cnn from "../../examples/mnist/cnn.json" with { type: "json" };
import { loadTestExamples } from "../../lib/data/datasets.ts";
import { rowsOf } from "../../lib/data/examples.ts";
import { errorMessage, InvalidInputError } from "../../lib/errors.ts";
import { classProbabilities } from "../../lib/metrics/class-probabilities.ts";
import { lossOf } from "../../lib/nn/losses/table.ts";
import type { Job, JobState, TrainingSpec } from "../../lib/protocol/jobs.ts";
import { firstLoss } from "../../lib/training/read-objective.ts";
import { callOf, configOf } from "../../mixins/config.ts";
import { followJob } from "../job-progress.ts";
import { headline, printEvaluation, printPublished } from "../report.ts";
import { drawImage, drawProbabilities, drawTable } from "./draw.ts";

type Arguments = { options: Record<string, unknown> } & Record<string, unknown>;

export type ReplCommand = {
  command: string;
  description: string;
  options?: { option: string; description: string }[];
  action(broker: ServiceBroker, args: Arguments): Promise<void>;
};

/** A command whose result is printed, as is what goes wrong. */
function command(
  declaration: Omit<ReplCommand, "action">,
  run: (broker: ServiceBroker, args: Arguments) => Promise<string>,
): ReplCommand {
  return {
    ...declaration,
    async action(broker, args) {
      const text = await run(broker, args).catch((error: unknown) => `  ${errorMessage(error)}`);
      process.stdout.write(`${text}\n`);
    },
  };
}

function integerOption(args: Arguments, name: string, fallback?: number): number | undefined {
  const value = args.options[name];
  if (value === undefined) return fallback;
  const number = Number(value);
  if (!Number.isInteger(number) || number < 0)
    throw new InvalidInputError({ field: `--${name}`, received: String(value), expected: "a whole number" });
  return number;
}

const models = command(
  { command: "models", description: "List models, their versions and aliases" },
  async (broker) => {
    const call = callOf(broker);
    const records = await call("registry.list", {});
    if (records.length === 0) return "  No models yet; `train` makes one.";
    const rows = await Promise.all(
      records.map(async ({ model, versions, latestVersion, aliases, rollout: { canary, shadow } = {} }) => {
        const { metrics, lineage } = await call("registry.version", { model });
        const named = Object.entries(aliases).map(([alias, version]) => `${alias} -> ${version}`);
        if (canary) named.push(`canary ${canary.version} (${Number((canary.weight * 100).toPrecision(3))}%)`);
        if (shadow) named.push(`shadow ${shadow.version}`);
        return [
          model,
          versions.join(", "),
          String(latestVersion),
          named.join(", "),
          metrics ? headline(metrics) : "",
          lineage?.dataset.name ?? "",
        ];
      }),
    );
    return drawTable(["model", "versions", "latest", "aliases", "test score", "data"], rows);
  },
);

function progressOf({ state, stage, progress, error, result }: Job): string {
  if (state === "failed") return error?.message ?? "";
  if (state === "succeeded")
    return result ? `version ${result.version}, test ${headline(result.evaluation)}` : "";
  if (!progress || stage !== "training") return "";
  const { epoch, epochs, step, stepsPerEpoch, loss, secondsLeft } = progress;
  return `epoch ${epoch}/${epochs}, step ${step}/${stepsPerEpoch}, loss ${loss.toFixed(4)}, ${secondsLeft.toFixed(0)} s left`;
}

const jobs = command(
  { command: "jobs [state]", description: "List training jobs, newest first" },
  async (broker, args) => {
    const state = args.state as JobState | undefined;
    const list = await callOf(broker)("trainer.list", { limit: 20, ...(state ? { state } : {}) });
    if (list.length === 0) return "  No jobs.";
    const rows = list.map((job) => [
      job.id,
      job.spec.model,
      job.state,
      job.stage,
      job.createdAt,
      progressOf(job),
    ]);
    return drawTable(["job", "model", "state", "stage", "created", ""], rows);
  },
);

const train = command(
  {
    command: "train [dataset]",
    description: "Train the example's network on a data set and publish it",
    options: [
      { option: "--epochs <n>", description: "epochs (default 1)" },
      { option: "--limit <n>", description: "use only the first n training examples" },
      { option: "--model <name>", description: "name to publish under (default: the data set's)" },
      { option: "--seed <n>", description: "seed of every random stream (default 0)" },
    ],
  },
  async (broker, args) => {
    const dataset = String(args.dataset ?? "mnist");
    const limit = integerOption(args, "limit");
    const job = await callOf(broker)("trainer.start", {
      model: String(args.options.model ?? dataset),
      architecture: cnn,
      data: { dataset, ...(limit === undefined ? {} : { trainLimit: limit }) },
      epochs: integerOption(args, "epochs", 1)!,
      seed: integerOption(args, "seed", 0)!,
    });
    const ended = await followJob(broker, job);
    if (ended.state !== "succeeded" || !ended.result)
      return `  The job ${ended.state}: ${ended.error?.message ?? ""}`;
    return `${printEvaluation(ended.result.evaluation)}\n\n${printPublished(ended.result)}`;
  },
);

async function testExample(dataset: string, directory: string | undefined, index: number) {
  const test = await loadTestExamples(dataset, directory);
  try {
    if (index >= test.count)
      throw new InvalidInputError({
        field: "--test",
        received: String(index),
        expected: `0 to ${test.count - 1}`,
      });
    const [column, target] = [test.inputs[0]!, test.targets[0]!];
    const row = Uint32Array.of(index);
    const truth = Number(rowsOf(target, row)[0]);
    return { column, target, pixels: rowsOf(column, row) as Uint8Array, truth };
  } finally {
    await test.close();
  }
}

const predict = command(
  {
    command: "predict <model>",
    description: "Ask a model about a test image and show both",
    options: [
      { option: "--test <n>", description: "which image of its test set (default 0)" },
      { option: "--version <version>", description: "version or alias (default: production)" },
    ],
  },
  async (broker, args) => {
    const call = callOf(broker);
    const model = String(args.model);
    const version = args.options.version === undefined ? {} : { version: String(args.options.version) };
    const published = await call("registry.version", { model, ...version });
    const { datasetsDirectory } = configOf(broker);
    const dataset = published.lineage?.dataset.name ?? model;
    const index = integerOption(args, "test", 0)!;
    const { column, target, pixels, truth } = await testExample(dataset, datasetsDirectory, index);
    const [height, width, ...channels] = column.shape;
    if (height === undefined || width === undefined || channels.join() !== "1" || !target.labelNames)
      throw new InvalidInputError({
        field: "model",
        received: `'${model}', tested on [${column.shape.join(",")}]`,
        expected: "a classifier of grey images, which can be shown here",
      });
    const input = published.signature.inputs[0]!;
    const answer = await call("inference.predict", {
      model,
      // By number, so that no canary answers: labels and loss are of this version.
      version: String(published.version),
      inputs: [
        {
          name: input.name,
          datatype: "FP32",
          shape: [1, ...column.shape],
          data: Float32Array.from(pixels),
        },
      ],
    });
    const scores = published.lineage
      ? lossOf(
          firstLoss(published.lineage.loss as TrainingSpec["loss"], published.signature.outputs[0]!.name),
        ).scores
      : "probabilities";
    const given = answer.outputs[0]!.data as Float32Array;
    const probabilities = classProbabilities(given, given.length, scores);
    const best = probabilities.indexOf(Math.max(...probabilities));
    const { labels } = published;
    return [
      drawImage(pixels, height, width),
      "",
      drawProbabilities(probabilities, labels),
      "",
      `  ${model} version ${answer.version} says ${labels[best] ?? best}; the label is ${labels[truth] ?? truth} (${best === truth ? "right" : "wrong"})`,
    ].join("\n");
  },
);

export const REPL_COMMANDS: ReplCommand[] = [models, jobs, train, predict];
