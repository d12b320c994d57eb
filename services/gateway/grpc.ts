/**
 * gRPC at the gateway: its services and the server they share. Shutting down, health says so first, while everything is
 * still answered; then streams and watches end, and no new calls are taken.
 */

import { setLogger } from "@grpc/grpc-js";
import { GrpcServer, type GrpcServerOptions } from "../../lib/grpc/server.ts";
import type { TlsMaterial } from "../../lib/http/tls-files.ts";
import type { Backend } from "./backend.ts";
import { GrpcHealth } from "./grpc-health.ts";
import { type FaultListener, GrpcService, OIP_SERVICE } from "./grpc-service.ts";

export class GrpcGateway {
  readonly #inference: GrpcService;
  readonly #health: GrpcHealth;
  readonly #server: GrpcServer;

  /** @param log hears what the library has to say, of this process's other uses of it too */
  constructor(
    backend: Backend,
    options: GrpcServerOptions,
    onFault: FaultListener,
    log: (...said: unknown[]) => void,
  ) {
    // Else it would print every header it cannot read on standard error, as often as a client sends one.
    setLogger({ error: log, info: log, debug: log });
    this.#inference = new GrpcService(backend, onFault);
    this.#health = new GrpcHealth(backend, [OIP_SERVICE]);
    this.#server = new GrpcServer(options, [this.#inference, this.#health]);
  }

  /** Host and port, once started. */
  get address(): string {
    return this.#server.address;
  }

  /** What a server with TLS proves itself with. */
  useTls(material: TlsMaterial): void {
    this.#server.useTls(material);
  }

  /** @throws {PortInUseError} */
  start(): Promise<void> {
    return this.#server.start();
  }

  /** The gateway must be draining by now. */
  stop(timeoutMs: number): Promise<void> {
    this.#health.changed();
    return this.#server.stop(timeoutMs, () => {
      this.#inference.close();
      this.#health.close();
    });
  }

  /** A model has changed. */
  onModel(): void {
    this.#health.changed();
  }
}
