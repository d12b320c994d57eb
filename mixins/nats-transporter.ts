/**
 * Moleculer over NATS, with one write per turn of the event loop. Moleculer's own transporter hands each packet to
 * the client at once, so requests that come on many connections leave in as many writes; and each write wakes the
 * server, which costs more than the request. The packets of one turn leave together, in order, and arrive together,
 * which also makes fuller batches at the other end.
 *
 * Refuses a packet that the server would not take, by its size, before anything is sent.
 */

import { Transporters } from "moleculer";
import type { NatsConnection } from "nats";
import { PayloadTooLargeError } from "../lib/errors.ts";

type Outgoing = { topic: string; data: Uint8Array };
/** As much of what Moleculer says about a packet as is needed here. */
type Meta = { packet?: { type: string; payload: { id?: string } } };

export class NatsTransporter extends Transporters.NATS {
  #turn: Outgoing[] = [];
  #flushing: NodeJS.Immediate | undefined;

  /** @throws {PayloadTooLargeError} at once, not as a rejection: only then does a caller hear of its lost answer */
  override send(topic: string, data: Buffer, { packet }: Meta = {}): Promise<void> {
    const client = this.client as NatsConnection | null;
    if (!client) return Promise.resolve();
    const limitBytes = client.info?.max_payload ?? Number.POSITIVE_INFINITY;
    if (data.length > limitBytes) {
      // Moleculer would keep the call, with all its data, as one that waits for its answer.
      if (packet?.type === "REQ" && packet.payload.id) this.transit?.removePendingRequest(packet.payload.id);
      throw new PayloadTooLargeError(data.length, limitBytes, "Message to another node");
    }
    this.#turn.push({ topic, data });
    this.#flushing ??= setImmediate(() => this.#flush());
    return Promise.resolve();
  }

  override disconnect(): Promise<void> {
    this.#flush();
    return super.disconnect();
  }

  #flush(): void {
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    const turn = this.#turn;
    this.#turn = [];
    const client = this.client as NatsConnection | null;
    if (!client || client.isClosed()) return;
    // The client, too, collects what it is given at one time.
    for (const { topic, data } of turn) client.publish(topic, data);
  }
}
