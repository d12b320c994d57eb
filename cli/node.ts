/**
 * One Moiety node: a broker with some or all of the services. As a program (`node cli/node.ts trainer converter`)
 * it hosts the named services until it is told to stop; the other commands use `startNode`.
 */

import { ServiceBroker, type ServiceSchema } from "moleculer";
import { type Config, readConfig } from "../lib/config.ts";
import { ConfigError } from "../lib/errors.ts";
import { assertPortFree } from "../lib/http/port.ts";
import { readTlsFiles } from "../lib/http/tls-files.ts";
import { openStore } from "../lib/store/open-store.ts";
import { brokerOptions } from "../moleculer.config.ts";
import { exitWith } from "./failure.ts";
import { onStopSignal } from "./signals.ts";

/** In the order in which they start; they stop the other way round, so the gateway goes first. */
export const SERVICES = ["registry", "converter", "evaluator", "inference", "trainer", "gateway"] as const;
export type ServiceName = (typeof SERVICES)[number];

/** Starts a broker with the given services. @throws what a service could not start for */
export async function startNode(
  config: Config,
  services: readonly ServiceName[],
  more: ServiceSchema[] = [],
): Promise<ServiceBroker> {
  // What could stop the start is tried first, the port before the store: a start that must fail writes nothing.
  if (services.includes("gateway")) {
    if (config.tls) await readTlsFiles(config.tls);
    await assertPortFree(config.http.host, config.http.port, "MOIETY_HTTP_PORT");
    if (config.grpc.port !== undefined)
      await assertPortFree(config.http.host, config.grpc.port, "MOIETY_GRPC_PORT");
  }
  const store = await openStore(config.store);
  await store.close();
  const broker = new ServiceBroker(brokerOptions(config));
  for (const name of SERVICES)
    if (services.includes(name)) {
      const module = (await import(`../services/${name}.service.ts`)) as { default: ServiceSchema };
      broker.createService(module.default);
    }
  for (const schema of more) broker.createService(schema);
  try {
    await broker.start();
  } catch (error) {
    await broker.stop().catch(() => {});
    throw error;
  }
  return broker;
}

/**
 * Stops the services one after another, last started first: the gateway answers what it accepted while inference
 * still runs. The broker itself would stop them all at once.
 */
export async function stopNode(broker: ServiceBroker): Promise<void> {
  for (const name of SERVICES.toReversed()) {
    const service = broker.getLocalService(name);
    if (service) await broker.destroyService(service);
  }
  await broker.stop();
}

/** The address the gateway of this broker listens on. */
export function gatewayUrl(broker: ServiceBroker): string {
  return gatewayOf(broker).url;
}

/** Host and port on which the gateway of this broker speaks gRPC; undefined where that is switched off. */
export function grpcAddress(broker: ServiceBroker): string | undefined {
  return gatewayOf(broker).grpcAddress;
}

function gatewayOf(broker: ServiceBroker): { url: string; grpcAddress: string | undefined } {
  const service = broker.getLocalService("gateway") as unknown as { gateway: ReturnType<typeof gatewayOf> };
  return service.gateway;
}

function serviceNames(args: readonly string[]): ServiceName[] {
  const unknown = args.find((name) => !(SERVICES as readonly string[]).includes(name));
  if (unknown !== undefined || args.length === 0)
    throw new ConfigError("services", args.join(" "), `some of ${SERVICES.join(", ")}`);
  return args as ServiceName[];
}

if (import.meta.main) {
  // A node started by another process must not outlive it: while it starts it ends at once, later in order.
  let orphaned = (): void => process.exit(1);
  process.once("disconnect", () => orphaned());
  try {
    const broker = await startNode(readConfig(process.env), serviceNames(process.argv.slice(2)));
    orphaned = onStopSignal(() => stopNode(broker)).stop;
    // A parent that started this node waits for the line.
    const addresses = broker.getLocalService("gateway")
      ? [gatewayUrl(broker), grpcAddress(broker) ?? ""]
      : [];
    process.stdout.write(`${["ready", broker.nodeID, ...addresses].join(" ").trimEnd()}\n`);
  } catch (error) {
    exitWith(error);
  }
}
