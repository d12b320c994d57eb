/** Asking a node over gRPC, each request exactly once, in the terms of asking it over HTTP (served-process.ts). */

import { type ServiceError, status } from "@grpc/grpc-js";
import { type InferMessage, OipClient } from "../fixtures/grpc-client.ts";
import type { Asked } from "./served-process.ts";

const HTTP: Readonly<Partial<Record<status, number>>> = {
  [status.OK]: 200,
  [status.UNAVAILABLE]: 503,
  [status.DEADLINE_EXCEEDED]: 504,
};
/** As the library says that a request has never left the client. */
const NEVER_SENT = /^No connection established/;

export class GrpcCaller {
  readonly #client: OipClient;

  /** With a connection of its own. */
  constructor(address: string) {
    this.#client = new OipClient(address, { "grpc.use_local_subchannel_pool": 1 });
  }

  /** @throws {Error} when the connection breaks, or at a status that should not be */
  ask(request: InferMessage): Promise<Asked> {
    return this.#asked(this.#client.infer(request).then(() => ""));
  }

  /** 200 when the server says that it is ready, 503 when it says that it is not. */
  async ready(): Promise<Asked["status"]> {
    const asked = await this.#asked(
      this.#client.call<{ ready: boolean }>("ServerReady").then(({ ready }) => String(ready)),
    );
    return asked.text === "false" ? 503 : asked.status;
  }

  close(): void {
    this.#client.close();
  }

  #asked(answer: Promise<string>): Promise<Asked> {
    return answer.then(
      (text) => ({ status: 200, headers: {}, text }),
      ({ code, details, metadata }: ServiceError) => {
        if (code === status.UNAVAILABLE && NEVER_SENT.test(details))
          return { status: "refused", headers: {}, text: "" };
        const [pushbackMs] = metadata.get("grpc-retry-pushback-ms");
        if (HTTP[code] === undefined || (code === status.UNAVAILABLE && pushbackMs === undefined))
          throw new Error(`A call over gRPC ended in ${status[code]}: ${details}`);
        const headers = pushbackMs === undefined ? {} : { "retry-after": String(Number(pushbackMs) / 1000) };
        return { status: HTTP[code], headers, text: details };
      },
    );
  }
}
