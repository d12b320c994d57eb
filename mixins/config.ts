/**
 * How a service finds the node's configuration: the broker carries it in its options, so that several brokers
 * with different settings can live in one process.
 */

import type { ServiceBroker } from "moleculer";
import type { Config } from "../lib/config.ts";
import { UnavailableError } from "../lib/errors.ts";
import type { Actions, Call, CallEach } from "../lib/protocol/actions.ts";
import type { Emit } from "../lib/protocol/events.ts";

declare module "moleculer" {
  interface BrokerOptions {
    moiety?: Config;
  }
}

/** The node's configuration. @throws {Error} when the broker was not made with `brokerOptions` */
export function configOf(broker: ServiceBroker): Config {
  const config = broker.options.moiety;
  if (!config)
    throw new Error("This broker carries no Moiety configuration; create it with brokerOptions(config)");
  return config;
}

/** `broker.call`, typed by the protocol's table of actions. */
export function callOf(broker: ServiceBroker): Call {
  return ((action, params, options) => broker.call(action, params, options)) as Call;
}

/**
 * Calls an action on every node that offers it.
 * @throws {UnavailableError} when none does; what the first of them throws
 */
export function callEachOf(broker: ServiceBroker): CallEach {
  const call = callOf(broker);
  return async (action, params, options) => {
    const endpoints = broker.registry.getActionEndpoints(action)?.endpoints ?? [];
    const nodes = endpoints.filter((endpoint) => endpoint.isAvailable).map((endpoint) => endpoint.node.id);
    if (nodes.length === 0) throw new UnavailableError(`Action ${action}`, "no node offers it");
    return Promise.all(nodes.map((nodeID) => call(action, params, { ...options, nodeID })));
  };
}

/** `broker.broadcast`, typed by the protocol's table of events: every node hears it. */
export function broadcastOf(broker: ServiceBroker): Emit {
  return (event, payload) => void broker.broadcast(event, payload);
}

/** Whether some node offers an action now. A call to one that none offers is a warning in the log. */
export function isOffered({ registry }: ServiceBroker, action: keyof Actions): boolean {
  return registry.getActionEndpoints(action)?.hasAvailable() === true;
}
