/**
 * `npm run repl`: Moleculer's REPL with Moiety's commands. In embedded mode on a node with every service but the
 * gateway, over the same data as `npm start`; in cluster mode (`MOIETY_MODE=cluster`) joined to the running cluster.
 */

import { readConfig } from "../lib/config.ts";
import { exitWith } from "./failure.ts";
import { SERVICES, startNode, stopNode } from "./node.ts";
import { REPL_COMMANDS } from "./repl/commands.ts";
import { onStopSignal } from "./signals.ts";

try {
  const config = readConfig(process.env);
  const embedded = config.store.kind === "files";
  const broker = await startNode(config, embedded ? SERVICES.filter((name) => name !== "gateway") : []);
  const { stop } = onStopSignal(() => stopNode(broker));
  broker.options.replOptions = { delimiter: "moiety $", customCommands: REPL_COMMANDS as never };
  process.stdout.write(
    `${embedded ? "One process with every service" : `Joined the cluster on ${config.natsUrl}`}. ` +
      "Try: models, jobs, train, predict mnist --test 7; help lists every command.\n",
  );
  const repl = broker.repl() as unknown as NodeJS.EventEmitter;
  repl.once("exit", stop);
} catch (error) {
  exitWith(error);
}
