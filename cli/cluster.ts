/**
 * `npm run cluster`: a whole cluster on this machine. Starts nats-server and redis-server on free ports, one process
 * per service and two of inference, then shows the same example as `npm start` through them. Takes the same options.
 * Ctrl-C stops everything in order: the gateway first, so that nothing accepted is dropped.
 */

import { join } from "node:path";
import { type Config, readConfig } from "../lib/config.ts";
import { type ChildNode, startChildNode } from "./child-node.ts";
import { exitWith } from "./failure.ts";
import { SERVICES, type ServiceName, startNode } from "./node.ts";
import { readOptions, type StartOptions } from "./options.ts";
import { startNats, startRedis } from "./servers.ts";
import { presentExample, servingLine } from "./show-example.ts";
import { onStopSignal } from "./signals.ts";

/** One process each, in starting order; they stop in the opposite order. */
const NODES: readonly { nodeID: string; service: ServiceName }[] = [
  { nodeID: "registry-1", service: "registry" },
  { nodeID: "converter-1", service: "converter" },
  { nodeID: "evaluator-1", service: "evaluator" },
  { nodeID: "inference-1", service: "inference" },
  { nodeID: "inference-2", service: "inference" },
  { nodeID: "trainer-1", service: "trainer" },
  { nodeID: "gateway-1", service: "gateway" },
];
const DISCOVERY_TIMEOUT_MS = 30_000;

type Stop = () => Promise<void>;

export type Cluster = {
  /** The gateway's address. */
  url: string;
  /** Where it speaks gRPC; undefined where that is switched off. */
  grpcAddress: string | undefined;
  natsUrl: string;
  redisUrl: string;
  nodes: ChildNode[];
  /** Configuration with which a further node joins. */
  joining: Config;
  stop: Stop;
};

/** Starts servers and nodes, configured by `environment`; what was started is stopped again when a part fails. */
export async function startCluster(
  environment: Readonly<Record<string, string | undefined>>,
  directory: string | undefined,
): Promise<Cluster> {
  const stops: Stop[] = [];
  const stop = async () => {
    for (const stopOne of stops.splice(0).reverse()) await stopOne();
  };
  try {
    const nats = await startNats(directory === undefined ? {} : { directory: join(directory, "nats") });
    stops.push(nats.stop);
    const redis = await startRedis();
    stops.push(redis.stop);
    const shared = {
      ...environment,
      MOIETY_MODE: "cluster",
      MOIETY_NATS_URL: nats.url,
      MOIETY_REDIS_URL: redis.url,
    };
    const nodes: ChildNode[] = [];
    for (const { nodeID, service } of NODES) {
      const node = await startChildNode([service], { ...shared, MOIETY_NODE_ID: nodeID });
      nodes.push(node);
      stops.push(node.stop);
    }
    const joining = readConfig({ ...shared, MOIETY_NODE_ID: "" });
    const { url, grpcAddress } = nodes.at(-1)!;
    return { url: url!, grpcAddress, natsUrl: nats.url, redisUrl: redis.url, nodes, joining, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function main(options: StartOptions): Promise<void> {
  const say = (text: string) => process.stdout.write(`${text}\n`);
  const config = readConfig(process.env);
  const directory = config.store.kind === "files" ? config.store.directory : process.cwd();
  const cluster = await startCluster(process.env, join(directory, "cluster"));
  const driver = await startNode({ ...cluster.joining, nodeID: "launcher" }, []);
  const stop = async () => {
    say("\nStopping the gateway, then the nodes, then the servers.");
    await driver.stop();
    await cluster.stop();
  };
  const signal = onStopSignal(stop);
  say(`NATS on ${cluster.natsUrl}, Redis on ${cluster.redisUrl}, and ${cluster.nodes.length} nodes:`);
  for (const node of cluster.nodes) {
    say(`  ${node.nodeID.padEnd(12)} process ${node.pid}`);
    void node.ended.then((how) => say(`  ${node.nodeID} ended (${how})`));
  }
  say(`Join it: MOIETY_MODE=cluster MOIETY_NATS_URL=${cluster.natsUrl} npm run repl\n`);
  await driver.waitForServices([...SERVICES], DISCOVERY_TIMEOUT_MS);
  if (options.empty) {
    say(`${servingLine(cluster)}, without an example.`);
    return;
  }
  await presentExample({
    broker: driver,
    url: cluster.url,
    grpcAddress: cluster.grpcAddress,
    directory: join(directory, "cluster"),
    options,
    signal,
    stop,
  });
}

if (import.meta.main)
  try {
    await main(readOptions(process.argv.slice(2), "npm run cluster"));
  } catch (error) {
    exitWith(error);
  }
