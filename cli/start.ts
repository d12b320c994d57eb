/**
 * `npm start`: every service in one process. Without a model it runs the example first (examples/mnist).
 * Options: --epochs N, --empty (no example), --exit (run the example, print one line of JSON, end).
 */

import { mkdir } from "node:fs/promises";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { parseArgs } from "node:util";
import type { ServiceBroker } from "moleculer";
import { type Config, readConfig } from "../lib/config.ts";
import { ConfigError, errorMessage } from "../lib/errors.ts";
import type { ModelVersion } from "../lib/protocol/models.ts";
import { firstPrediction, publishedExample, trainExample, untilServed } from "./example.ts";
import { SERVICES, startNode } from "./node.ts";
import { printEvaluation, printLineage } from "./report.ts";
import { onStopSignal } from "./signals.ts";

const HELP = `npm start -- [options]
  --epochs N   train the example for N epochs (default 1; another number than the published model's trains it again)
  --empty      start without the example
  --exit       run the example, print one line of JSON and end
  --help       this text
`;

type Options = { epochs: number | undefined; empty: boolean; exit: boolean };

function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      epochs: { type: "string" },
      empty: { type: "boolean", default: false },
      exit: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    process.exit(0);
  }
  const epochs = values.epochs === undefined ? undefined : Number(values.epochs);
  if (epochs !== undefined && (!Number.isInteger(epochs) || epochs < 1 || epochs > 1000))
    throw new ConfigError("--epochs", values.epochs!, "an integer from 1 to 1000");
  if (values.empty && values.exit) throw new ConfigError("--exit", "--empty --exit", "one of the two");
  return { epochs, empty: values.empty, exit: values.exit };
}

export type ExampleOutcome = { version: ModelVersion; secondsToFirstPrediction: number };

/** Shows the example on a running node or cluster: train it if there is none, wait until it is served, ask it. */
export async function showExample(
  broker: ServiceBroker,
  url: string,
  directory: string,
  epochs: number | undefined,
): Promise<ExampleOutcome> {
  const say = (text: string) => process.stdout.write(`${text}\n`);
  let version = await publishedExample(broker);
  if (version && (epochs === undefined || version.lineage?.epochs === epochs))
    say(
      `Found model ${version.model} version ${version.version} (test accuracy ${version.metrics?.accuracy.toFixed(4)}).`,
    );
  else {
    say(version ? `Training ${version.model} again.` : "No model yet: training the MNIST example.");
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    version = await trainExample(broker, epochs ?? 1);
    delay.disable();
    say(printEvaluation(version.metrics!));
    say("");
    say(printLineage(version));
    say(`  worst delay of the event loop meanwhile: ${(delay.max / 1e6).toFixed(1)} ms`);
  }
  await untilServed(broker, version);
  const first = await firstPrediction(url, directory);
  const secondsToFirstPrediction = performance.now() / 1000;
  say(
    `\nServing on ${url}. The first test image is a ${first.label}; the model says ${first.prediction}. Try it:\n`,
  );
  say(`  ${first.curl}\n`);
  return { version, secondsToFirstPrediction };
}

/** What `--exit` ends with. */
export function outcomeLine({ version, secondsToFirstPrediction }: ExampleOutcome): string {
  return JSON.stringify({
    model: version.model,
    version: version.version,
    testAccuracy: version.metrics?.accuracy,
    epochs: version.lineage?.epochs,
    trainSeconds: version.lineage && Number(version.lineage.trainSeconds.toFixed(3)),
    secondsToFirstPrediction: Number(secondsToFirstPrediction.toFixed(3)),
  });
}

/** The address the gateway of this broker listens on. */
export function gatewayUrl(broker: ServiceBroker): string {
  const gateway = broker.getLocalService("gateway") as unknown as { gateway: { url: string } };
  return gateway.gateway.url;
}

async function main(config: Config, options: Options): Promise<void> {
  if (config.store.kind === "files") await mkdir(config.store.directory, { recursive: true }).catch(() => {});
  const broker = await startNode(config, SERVICES);
  onStopSignal(() => broker.stop());
  const url = gatewayUrl(broker);
  if (options.empty) {
    process.stdout.write(`Serving on ${url}, without an example.\n`);
    return;
  }
  const directory = config.store.kind === "files" ? config.store.directory : process.cwd();
  const outcome = await showExample(broker, url, directory, options.epochs);
  if (!options.exit) return;
  await broker.stop();
  process.stdout.write(`${outcomeLine(outcome)}\n`);
  process.exit(0);
}

if (import.meta.main)
  try {
    await main(readConfig(process.env), readOptions(process.argv.slice(2)));
  } catch (error) {
    process.stderr.write(`${errorMessage(error)}\n`);
    process.exit(1);
  }
