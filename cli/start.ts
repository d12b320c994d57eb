/**
 * `npm start`: every service in one process. Without a model it runs the example first (examples/mnist).
 * Options: --epochs N, --empty (no example), --exit (run the example, print one line of JSON, end).
 */

import { mkdir } from "node:fs/promises";
import { type Config, readConfig } from "../lib/config.ts";
import { exitWith } from "./failure.ts";
import { gatewayUrl, SERVICES, startNode, stopNode } from "./node.ts";
import { readOptions, type StartOptions } from "./options.ts";
import { outcomeLine, showExample } from "./show-example.ts";
import { onStopSignal } from "./signals.ts";

async function main(config: Config, options: StartOptions): Promise<void> {
  if (config.store.kind === "files") await mkdir(config.store.directory, { recursive: true }).catch(() => {});
  const broker = await startNode(config, SERVICES);
  onStopSignal(() => stopNode(broker));
  const url = gatewayUrl(broker);
  if (options.empty) {
    process.stdout.write(`Serving on ${url}, without an example.\n`);
    return;
  }
  const directory = config.store.kind === "files" ? config.store.directory : process.cwd();
  const outcome = await showExample(broker, url, directory, options.epochs);
  if (!options.exit) return;
  await stopNode(broker);
  process.stdout.write(`${outcomeLine(outcome)}\n`);
  process.exit(0);
}

if (import.meta.main)
  try {
    await main(readConfig(process.env), readOptions(process.argv.slice(2), "npm start"));
  } catch (error) {
    exitWith(error);
  }
