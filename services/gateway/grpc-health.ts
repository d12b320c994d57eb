/**
 * gRPC's own health service: `grpc.health.v1.Health` answers for the server as a whole (the empty name, or that of the
 * inference service) and for each model by its name. A gateway that shuts down is NOT_SERVING whatever is asked about.
 * Who watches is told at once, and of every change: events say that something may have changed, and what no event tells
 * (a node that is gone) is seen by asking again. Watches have a bound; a client that does not read gets the newest only.
 */

import type {
  handleUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import { DrainingError, errorType, ModelNotFoundError, QueueFullError } from "../../lib/errors.ts";
import { bytesMethod } from "../../lib/grpc/bytes-method.ts";
import { grpcStatus } from "../../lib/grpc/status.ts";
import { type Health, printHealth, readHealthRequest } from "../../lib/oip/grpc/health.ts";
import type { Backend } from "./backend.ts";
import { modelReadiness, serverReadiness } from "./readiness.ts";

const SERVICE = "grpc.health.v1.Health";
const MAX_WATCHES = 1024;
const ASK_AGAIN_MS = 1000;

type Call = ServerWritableStream<Buffer, Buffer>;

export class GrpcHealth {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
  readonly #healthOf: (service: string) => Promise<Health>;
  readonly #watched = new Map<string, WatchedService>();
  #watches = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param wholeServer names of services that are healthy when the server is */
  constructor(backend: Backend, wholeServer: readonly string[]) {
    this.#healthOf = (service) =>
      service === "" || wholeServer.includes(service) ? serverHealth(backend) : modelHealth(backend, service);
    const check: handleUnaryCall<Buffer, Buffer> = async ({ request }, callback) => {
      try {
        callback(null, printHealth(await this.#check(readHealthRequest(request))));
      } catch (error) {
        callback(grpcStatus(error));
      }
    };
    this.definition = {
      Check: bytesMethod(SERVICE, "Check"),
      Watch: bytesMethod(SERVICE, "Watch", { responses: true }),
    };
    this.implementation = { Check: check, Watch: (call: Call) => this.#watch(call) };
  }

  /** Something may be otherwise than it was. */
  changed(): void {
    for (const service of this.#watched.values()) void service.look();
  }

  /** Ends all watches. */
  close(): void {
    this.#closed = true;
    for (const service of this.#watched.values()) service.end();
  }

  async #check(service: string): Promise<Health> {
    const health = await this.#healthOf(service);
    if (health === "SERVICE_UNKNOWN") throw new ModelNotFoundError(service);
    return health;
  }

  #watch(call: Call): void {
    try {
      const name = readHealthRequest(call.request);
      if (this.#closed) throw new DrainingError("The gateway");
      if (this.#watches >= MAX_WATCHES) throw new QueueFullError("health watches", MAX_WATCHES);
      const service = this.#watched.get(name) ?? new WatchedService(() => this.#healthOf(name));
      this.#watched.set(name, service);
      this.#watches++;
      call.once("close", () => this.#forget(name, service, call));
      call.once("cancelled", () => this.#forget(name, service, call));
      service.add(call);
      this.#timer ??= setInterval(() => this.changed(), ASK_AGAIN_MS);
    } catch (error) {
      call.emit("error", grpcStatus(error));
    }
  }

  #forget(name: string, service: WatchedService, call: Call): void {
    if (!service.remove(call)) return;
    this.#watches--;
    if (service.isLeft) this.#watched.delete(name);
    if (this.#watches > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** One name, and who watches it. */
class WatchedService {
  readonly #ask: () => Promise<Health>;
  readonly #watches = new Map<Call, Watch>();
  #asking = false;
  #stale = false;

  /** @param ask must not reject */
  constructor(ask: () => Promise<Health>) {
    this.#ask = ask;
  }

  get isLeft(): boolean {
    return this.#watches.size === 0;
  }

  add(call: Call): void {
    this.#watches.set(call, new Watch(call));
    void this.look();
  }

  /** Whether it was there. */
  remove(call: Call): boolean {
    return this.#watches.delete(call);
  }

  /** Asks, once more if it was told to while it asked, and tells. */
  async look(): Promise<void> {
    this.#stale = true;
    if (this.#asking) return;
    this.#asking = true;
    while (this.#stale) {
      this.#stale = false;
      const health = await this.#ask();
      for (const watch of this.#watches.values()) watch.tell(health);
    }
    this.#asking = false;
  }

  end(): void {
    for (const call of this.#watches.keys()) call.emit("error", grpcStatus(new DrainingError("The gateway")));
  }
}

/** What one client has been told. */
class Watch {
  readonly #call: Call;
  #told: Health | undefined;
  #newest: Health | undefined;
  #congested = false;

  constructor(call: Call) {
    this.#call = call;
    call.on("drain", () => {
      this.#congested = false;
      this.#send();
    });
  }

  tell(health: Health): void {
    this.#newest = health;
    this.#send();
  }

  #send(): void {
    if (this.#congested || this.#newest === this.#told || this.#newest === undefined) return;
    this.#told = this.#newest;
    this.#congested = !this.#call.write(printHealth(this.#told));
  }
}

async function serverHealth(backend: Backend): Promise<Health> {
  return (await serverReadiness(backend)).ready ? "SERVING" : "NOT_SERVING";
}

/** Never rejects: of a model that cannot be asked about nobody knows that it serves. */
async function modelHealth(backend: Backend, model: string): Promise<Health> {
  try {
    return (await modelReadiness(backend, { model })).ready ? "SERVING" : "NOT_SERVING";
  } catch (error) {
    return errorType(error) === "MODEL_NOT_FOUND" ? "SERVICE_UNKNOWN" : "NOT_SERVING";
  }
}
