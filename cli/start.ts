/**
 * `npm start`: every service in one process. Without a model it runs the example first (examples/mnist).
 * Options: --epochs N, --empty (no example), --exit (run the example, print one line of JSON, end).
 */

import { type Config, readConfig } from "../lib/config.ts";
import { exitWith } from "./failure.ts";
import { gatewayUrl, grpcAddress, SERVICES, startNode, stopNode } from "./node.ts";
import { readOptions, type StartOptions } from "./options.ts";
import { presentExample, servingLine } from "./show-example.ts";
import { onStopSignal } from "./signals.ts";

async function main(config: Config, options: StartOptions): Promise<void> {
  const broker = await startNode(config, SERVICES);
  const stop = () => stopNode(broker);
  const signal = onStopSignal(stop);
  const addresses = { url: gatewayUrl(broker), grpcAddress: grpcAddress(broker) };
  if (options.empty) {
    process.stdout.write(`${servingLine(addresses)}, without an example.\n`);
    return;
  }
  const directory = config.store.kind === "files" ? config.store.directory : process.cwd();
  await presentExample({ broker, ...addresses, directory, options, signal, stop });
}

if (import.meta.main)
  try {
    await main(readConfig(process.env), readOptions(process.argv.slice(2), "npm start"));
  } catch (error) {
    exitWith(error);
  }
