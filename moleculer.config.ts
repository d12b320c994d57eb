/**
 * One broker configuration for embedded and cluster mode; `MOIETY_*` variables choose (see lib/config.ts).
 * Every default that differs from Moleculer's says why.
 */

import type { BrokerOptions } from "moleculer";
import { type Config, readConfig } from "./lib/config.ts";
import "./mixins/config.ts";

export function brokerOptions(config: Config): BrokerOptions {
  return {
    moiety: config,
    namespace: config.namespace,
    ...(config.nodeID ? { nodeID: config.nodeID } : {}),
    // Typed arrays stay typed arrays; JSON and Notepack break them.
    serializer: "CBOR",
    transporter: config.mode === "cluster" ? { type: "NATS", options: { url: config.natsUrl } } : null,
    // Without it, stop() drops requests in flight.
    tracking: { enabled: true, shutdownTimeout: 10_000 },
    logLevel: config.logLevel as NonNullable<BrokerOptions["logLevel"]>,
  };
}

export default brokerOptions(readConfig(process.env));
