/**
 * Finds dead nodes within about half a second, where heartbeats take half a minute. A killed node would otherwise
 * keep its callers waiting until their deadlines.
 *
 * Every node answers on a NATS subject of its own, over the transporter's connection, and asks each other node's
 * subject a few times a second. When a process dies, the NATS server drops its subscriptions with its connection
 * and answers "no responders" at once. That, twice in a row, is taken as proof of death: the node is disconnected,
 * and calls in flight to it are rejected as retryable. Silence proves nothing (the node's event loop may be busy)
 * and is left to the heartbeats.
 *
 * A node must have answered on the present connection before "no responders" counts at once: after a restart of
 * NATS the nodes come back at different times. One that stays without responders is dropped after `graceMs`. A
 * node that never answered (because it does not run this) is never dropped here. One that was dropped and answers
 * again is discovered again.
 *
 * A node that serves predictions answers with its load; that and the time it took tell the balancer where to send calls.
 */

import type { Middleware, ServiceBroker } from "moleculer";
import { ErrorCode, Events, type NatsConnection } from "nats";
import type { NodeBalancer } from "../lib/balance/node-balancer.ts";
import { parseNodeLoad, printNodeLoad } from "../lib/protocol/node-load.ts";
import { balancerOf } from "./balance.ts";

export type LivenessOptions = {
  /** Between two probes of one node. @default 250 */
  intervalMs?: number;
  /** Most probes a node sends per second; in large clusters the interval grows. @default 200 */
  maxProbesPerSecond?: number;
  /** Between the first "no responders" and the probe that must confirm it. @default 100 */
  confirmMs?: number;
  /** How long a node may lack responders after a reconnection of this one. @default 5000 */
  graceMs?: number;
};

/** What is known of one remote node. */
type Peer = {
  /** Answered at least once: it takes part. */
  known: boolean;
  /** Answered since this node last connected to NATS. */
  fresh: boolean;
  /** Since when it has had no responders; undefined while it has, or may have. */
  missingSince: number | undefined;
  /** Dropped here, and probed until it answers again or is forgotten. */
  dropped: boolean;
  probing: boolean;
};

const PROBE_TIMEOUT_MS = 1_000;
const NOTHING = new Uint8Array(0);

export function livenessMiddleware(options: LivenessOptions = {}): Middleware {
  let liveness: Liveness | undefined;
  return {
    name: "Liveness",
    created(broker: ServiceBroker) {
      broker.localBus.on("$transporter.connected", () => {
        const client = natsClientOf(broker);
        if (!client || liveness) return;
        liveness = new Liveness(broker, client, options);
        liveness.start();
      });
      broker.localBus.on("$transporter.disconnected", () => {
        liveness?.stop();
        liveness = undefined;
      });
    },
  };
}

class Liveness {
  readonly #broker: ServiceBroker;
  readonly #client: NatsConnection;
  readonly #balancer: NodeBalancer;
  readonly #options: Required<LivenessOptions>;
  readonly #peers = new Map<string, Peer>();
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(broker: ServiceBroker, client: NatsConnection, options: LivenessOptions) {
    this.#broker = broker;
    this.#client = client;
    this.#balancer = balancerOf(broker);
    this.#options = { intervalMs: 250, maxProbesPerSecond: 200, confirmMs: 100, graceMs: 5_000, ...options };
  }

  start(): void {
    this.#client.subscribe(subjectOf(this.#broker, this.#broker.nodeID), {
      callback: (error, message) => {
        const load = this.#balancer.ownLoad?.();
        if (!error) message.respond(load ? printNodeLoad(load) : NOTHING);
      },
    });
    void this.#watchConnection();
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  /** After a reconnection nobody's absence means anything yet. */
  async #watchConnection(): Promise<void> {
    for await (const { type } of this.#client.status()) {
      if (this.#stopped) return;
      if (type !== Events.Disconnect && type !== Events.Reconnect) continue;
      for (const peer of this.#peers.values()) {
        peer.fresh = false;
        peer.missingSince = undefined;
      }
    }
  }

  #schedule(): void {
    const { intervalMs, maxProbesPerSecond } = this.#options;
    const delayMs = Math.max(intervalMs, (this.#peers.size * 1_000) / maxProbesPerSecond);
    this.#timer = setTimeout(() => {
      this.#probeAll();
      this.#schedule();
    }, delayMs);
    this.#timer.unref();
  }

  #probeAll(): void {
    const { nodes } = this.#broker.registry;
    for (const nodeID of this.#peers.keys()) if (!nodes.has(nodeID)) this.#peers.delete(nodeID);
    this.#balancer.review((nodeID) => nodes.get(nodeID)?.available === true);
    for (const node of nodes.toArray()) {
      if (node.local) continue;
      const peer = this.#peerOf(node.id);
      if (node.available) peer.dropped = false;
      if (node.available || peer.dropped) void this.#probe(node.id, peer);
    }
  }

  #peerOf(nodeID: string): Peer {
    const known = this.#peers.get(nodeID);
    if (known) return known;
    const peer = { known: false, fresh: false, missingSince: undefined, dropped: false, probing: false };
    this.#peers.set(nodeID, peer);
    return peer;
  }

  async #probe(nodeID: string, peer: Peer): Promise<void> {
    if (peer.probing) return;
    peer.probing = true;
    const subject = subjectOf(this.#broker, nodeID);
    const sentAt = performance.now();
    this.#balancer.asked(nodeID);
    try {
      const { data } = await this.#client.request(subject, NOTHING, { timeout: PROBE_TIMEOUT_MS });
      this.#balancer.heard(nodeID, parseNodeLoad(data), performance.now() - sentAt);
      this.#onAnswer(nodeID, peer);
    } catch (error) {
      if (codeOf(error) === ErrorCode.NoResponders) this.#onMissing(nodeID, peer);
      // Anything else (silence, a connection on its way down) proves nothing.
    } finally {
      peer.probing = false;
    }
  }

  #onAnswer(nodeID: string, peer: Peer): void {
    peer.known = peer.fresh = true;
    peer.missingSince = undefined;
    if (!peer.dropped) return;
    peer.dropped = false;
    void this.#broker.registry.discoverer.discoverNode(nodeID);
  }

  #onMissing(nodeID: string, peer: Peer): void {
    if (this.#stopped || !peer.known || peer.dropped) return;
    const { confirmMs, graceMs } = this.#options;
    const now = performance.now();
    if (peer.missingSince === undefined) {
      peer.missingSince = now;
      if (peer.fresh) setTimeout(() => void this.#probe(nodeID, peer), confirmMs).unref();
      return;
    }
    if (now - peer.missingSince >= (peer.fresh ? confirmMs : graceMs)) this.#drop(nodeID, peer);
  }

  #drop(nodeID: string, peer: Peer): void {
    peer.missingSince = undefined;
    peer.fresh = false;
    if (!this.#broker.registry.nodes.get(nodeID)?.available) return;
    peer.dropped = true;
    this.#broker
      .getLogger("liveness")
      .warn(`Node '${nodeID}' has left NATS without a word: it is taken as dead.`);
    this.#broker.registry.nodes.disconnected(nodeID, true);
  }
}

/** NATS subjects are dotted words: whatever else a node's name has in it is escaped. */
function subjectOf({ namespace }: ServiceBroker, nodeID: string): string {
  const word = nodeID.replace(/[^\w-]/g, (character) => `%${character.codePointAt(0)!.toString(16)}`);
  return `${namespace || "moleculer"}.alive.${word}`;
}

function natsClientOf({ transit }: ServiceBroker): NatsConnection | undefined {
  const transporter = transit?.tx as { client?: NatsConnection | null } | undefined;
  const client = transporter?.client;
  return typeof client?.request === "function" ? client : undefined;
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code;
}
