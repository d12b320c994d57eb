/** The example on a terminal: what `npm start` and `npm run cluster` print of it. */

import { monitorEventLoopDelay } from "node:perf_hooks";
import type { ServiceBroker } from "moleculer";
import type { ModelVersion } from "../lib/protocol/models.ts";
import { firstPrediction, publishedExample, trainExample, untilServed } from "./example.ts";
import { failureText } from "./failure.ts";
import type { StartOptions } from "./options.ts";
import { headline, printEvaluation, printLineage } from "./report.ts";
import type { StopSignal } from "./signals.ts";

type ExampleOutcome = { version: ModelVersion; secondsToFirstPrediction: number };

/**
 * Shows the example on a running node or cluster: train it if there is none, wait until it is served, ask it (unless it
 * speaks TLS).
 */
async function showExample(
  broker: ServiceBroker,
  addresses: Addresses,
  directory: string,
  epochs: number | undefined,
): Promise<ExampleOutcome> {
  const say = (text: string) => process.stdout.write(`${text}\n`);
  let version = await publishedExample(broker);
  if (version && (epochs === undefined || version.lineage?.epochs === epochs))
    say(
      `Found model ${version.model} version ${version.version} (${version.metrics ? `test ${headline(version.metrics)}` : "no metrics"}).`,
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
  const production = (await publishedExample(broker)) ?? version;
  if (production.version !== version.version)
    say(`  It scores worse than version ${production.version}, which stays in production.`);
  await untilServed(broker, production);
  if (addresses.url.startsWith("https:")) {
    // Its certificate is for clients that know its name, and they may need one of their own.
    say(`\n${servingLine(addresses)}.`);
    return { version, secondsToFirstPrediction: performance.now() / 1000 };
  }
  const first = await firstPrediction(addresses.url, directory);
  const secondsToFirstPrediction = performance.now() / 1000;
  say(
    `\n${servingLine(addresses)}. The first test image is a ${first.label}; the model says ${first.prediction}. Try it:\n`,
  );
  say(`  ${first.curl}\n`);
  return { version, secondsToFirstPrediction };
}

/** `grpcAddress`: undefined where it is switched off. */
type Addresses = { url: string; grpcAddress: string | undefined };

/** Where the gateway can be reached. */
export function servingLine({ url, grpcAddress }: Addresses): string {
  return `Serving on ${url}${grpcAddress === undefined ? "" : ` and, over gRPC, on ${grpcAddress}`}`;
}

export type Presentation = Addresses & {
  broker: ServiceBroker;
  directory: string;
  options: StartOptions;
  signal: StopSignal;
  stop: () => Promise<void>;
};

/**
 * Shows the example. Then the program goes on serving, also when the example failed; with `--exit` it stops in order
 * and ends. @throws with `--exit`, what the example failed with
 */
export async function presentExample(given: Presentation): Promise<void> {
  const { broker, directory, options, signal, stop } = given;
  let outcome: ExampleOutcome;
  try {
    outcome = await showExample(broker, given, directory, options.epochs);
  } catch (error) {
    // Told to stop meanwhile: that calls fail now is no news, and the process is ending.
    if (signal.stopping) return;
    if (!options.exit) {
      process.stderr.write(`${failureText(error)}\n`);
      process.stdout.write(`${servingLine(given)}, without the example.\n`);
      return;
    }
    await stop();
    throw error;
  }
  if (!options.exit) return;
  await stop();
  process.stdout.write(`${outcomeLine(outcome)}\n`);
  process.exit(0);
}

/** What `--exit` ends with. */
function outcomeLine({ version, secondsToFirstPrediction }: ExampleOutcome): string {
  return JSON.stringify({
    model: version.model,
    version: version.version,
    testAccuracy: version.metrics?.kind === "classification" ? version.metrics.accuracy : undefined,
    epochs: version.lineage?.epochs,
    trainSeconds: version.lineage && Number(version.lineage.trainSeconds.toFixed(3)),
    secondsToFirstPrediction: Number(secondsToFirstPrediction.toFixed(3)),
  });
}
