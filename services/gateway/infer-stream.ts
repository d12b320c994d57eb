/**
 * One `ModelStreamInfer` call: requests in, answers out as they are ready. A stream may have so many requests in work
 * and no more: then, and while the client does not take its answers, nothing is read, and the client's sending
 * comes to a stop by HTTP/2's flow control. When the client has said all and everything is answered, the stream ends.
 */

import type { ServerDuplexStream } from "@grpc/grpc-js";
import { DrainingError } from "../../lib/errors.ts";
import { grpcStatus } from "../../lib/grpc/status.ts";

/** Several full batches. */
const MAX_IN_WORK = 128;

export class InferStream {
  readonly #call: ServerDuplexStream<Buffer, Buffer>;
  readonly #answer: (message: Buffer) => Promise<Buffer>;
  readonly #onEnd: () => void;
  #inWork = 0;
  /** Whether the client takes less than there is to send. */
  #congested = false;
  #clientDone = false;
  #closing = false;
  #over = false;

  /**
   * @param answer must not reject
   * @param onEnd called once, when the stream is over, however it came to that
   */
  constructor(
    call: ServerDuplexStream<Buffer, Buffer>,
    answer: (message: Buffer) => Promise<Buffer>,
    onEnd: () => void,
  ) {
    this.#call = call;
    this.#answer = answer;
    this.#onEnd = onEnd;
    call.on("data", (message: Buffer) => void this.#take(message));
    call.on("drain", () => {
      this.#congested = false;
      this.#goOn();
    });
    call.once("end", () => {
      this.#clientDone = true;
      this.#goOn();
    });
    call.once("cancelled", () => this.#end());
  }

  /** Reads no more, answers what is in work, and ends with UNAVAILABLE: the client asks elsewhere for the rest. */
  close(): void {
    this.#closing = true;
    this.#call.pause();
    this.#goOn();
  }

  async #take(message: Buffer): Promise<void> {
    this.#inWork++;
    if (this.#inWork >= MAX_IN_WORK) this.#call.pause();
    const answer = await this.#answer(message);
    this.#inWork--;
    if (this.#over) return;
    if (!this.#call.write(answer)) {
      this.#congested = true;
      this.#call.pause();
    }
    this.#goOn();
  }

  #goOn(): void {
    if (this.#over) return;
    const finished = this.#clientDone || this.#closing;
    if (finished && this.#inWork === 0) {
      // Errors given so leave as the call's status, after what has been written.
      if (this.#clientDone) this.#call.end();
      else this.#call.emit("error", grpcStatus(new DrainingError("The gateway")));
      this.#end();
    } else if (!finished && !this.#congested && this.#inWork < MAX_IN_WORK) this.#call.resume();
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#onEnd();
  }
}
