/** The example on a terminal: what `npm start` and `npm run cluster` print of it. */

import { monitorEventLoopDelay } from "node:perf_hooks";
import type { ServiceBroker } from "moleculer";
import type { ModelVersion } from "../lib/protocol/models.ts";
import { firstPrediction, publishedExample, trainExample, untilServed } from "./example.ts";
import { printEvaluation, printLineage } from "./report.ts";

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
