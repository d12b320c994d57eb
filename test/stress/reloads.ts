/**
 * Whether requests notice that the model behind them is replaced. Clients ask without a pause, half of them over gRPC, while one
 * version after another is published and made the production version; some of them are files that no runtime takes.
 * Version v answers `y = v x + 1`, so that what an answer holds says whose it is.
 *
 * An answer may come from a version only if that was published before the answer, and from no older one than had
 * answered anybody before the question: the switch is one step.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gatewayUrl, grpcAddress, startNode, stopNode } from "../../cli/node.ts";
import { readConfig } from "../../lib/config.ts";
import { openStore } from "../../lib/store/open-store.ts";
import { callOf } from "../../mixins/config.ts";
import { until } from "../fixtures/eventually.ts";
import { OipClient } from "../fixtures/grpc-client.ts";
import { affineModel } from "../fixtures/onnx-models.ts";

export type ReloadsOptions = {
  /** Versions that follow the first. */
  reloads: number;
  /** Each so many versions one cannot be loaded. */
  failEvery: number;
  clients: number;
  /** How long to ask before the first reload; 0: until every client has been answered. */
  calmMs: number;
};

export type ReloadsReport = {
  answers: number;
  /** Versions that answered, in the order they first did. */
  versions: number[];
  failedLoads: number;
  /** Of answers asked for before the first reload, and between the first and the last. */
  p99Ms: { before: number; during: number };
};

type Answer = { version: number; askedAt: number; tookMs: number };

/** @throws {Error} at the first request that failed or was answered by a version that it cannot have met */
export async function reloads(options: ReloadsOptions): Promise<ReloadsReport> {
  const directory = await mkdtemp(join(tmpdir(), "moiety-reloads-"));
  const config = readConfig({
    MOIETY_DATA_DIR: directory,
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_INFERENCE_WORKERS: "2",
    MOIETY_INFERENCE_TIMEOUT_MS: "120000",
    MOIETY_LOG_LEVEL: "fatal",
  });
  const [loaded, failed] = [new Set<number>(), new Set<number>()];
  const listener = {
    name: "listener",
    events: {
      "model.loaded": (ctx: { params: { version: string } }) => void loaded.add(Number(ctx.params.version)),
      "model.loadFailed": (ctx: { params: { version: string } }) =>
        void failed.add(Number(ctx.params.version)),
    },
  };
  const broker = await startNode(config, ["registry", "inference", "gateway"], [listener]);
  const call = callOf(broker);
  const store = await openStore({ kind: "files", directory });
  let published = 0;

  const publish = async (): Promise<void> => {
    const version = published + 1;
    const broken = version % options.failEvery === 0;
    const onnx = await store.artifacts.put(
      broken ? new TextEncoder().encode(`no model, the ${version}th`) : affineModel({ scale: version }),
    );
    const spec = [{ name: "x", datatype: "FP32" as const, shape: [-1, 3] }];
    const signature = { inputs: spec, outputs: [{ ...spec[0]!, name: "y" }] };
    published = version;
    await call("registry.publish", { model: "m", artifacts: { onnx }, signature, labels: [] });
    await call("registry.setAlias", { model: "m", alias: "production", version });
    await until(() => (broken ? failed : loaded).has(version));
  };

  try {
    await publish();
    const load = new Load(gatewayUrl(broker), grpcAddress(broker)!, options.clients, () => published);
    try {
      await load.moved(options.clients);
      await new Promise((resolve) => setTimeout(resolve, options.calmMs));
      const reloadsFrom = performance.now();
      for (let i = 0; i < options.reloads; i++) {
        await publish();
        // Some answers by whoever serves now, before the next is made.
        await load.moved(options.clients);
      }
      const reloadsTo = performance.now();
      const last = published % options.failEvery === 0 ? published - 1 : published;
      await load.until(() => load.newest === last);
      await load.end();
      const times = (from: number, to: number) =>
        load.answers.filter(({ askedAt }) => askedAt >= from && askedAt < to).map(({ tookMs }) => tookMs);
      return {
        answers: load.answers.length,
        versions: [...new Set(load.answers.map(({ version }) => version))],
        failedLoads: failed.size,
        p99Ms: { before: p99(times(0, reloadsFrom)), during: p99(times(reloadsFrom, reloadsTo)) },
      };
    } finally {
      await load.end();
    }
  } finally {
    await stopNode(broker);
    await store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Clients that ask until they are told to stop, or until one got what it should not. */
class Load {
  readonly answers: Answer[] = [];
  /** The newest version that has answered. */
  newest = 0;
  readonly #published: () => number;
  readonly #clients: Promise<unknown>;
  #failure: unknown;
  #ending = false;

  constructor(url: string, address: string, clients: number, published: () => number) {
    const grpc = new OipClient(address);
    this.#published = published;
    this.#clients = Promise.all(
      Array.from({ length: clients }, (_, i) =>
        this.#client(i, i % 2 === 0 ? (x) => askHttp(url, x) : (x) => askGrpc(grpc, x)),
      ),
    )
      .catch((error) => {
        this.#ending = true;
        this.#failure = error;
      })
      .finally(() => grpc.close());
  }

  /** Waits for a condition. @throws what a client met */
  async until(condition: () => boolean): Promise<void> {
    await until(() => this.#failure !== undefined || condition());
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Waits for so many more answers. */
  async moved(answers: number): Promise<void> {
    const enough = this.answers.length + answers;
    await this.until(() => this.answers.length >= enough);
  }

  async end(): Promise<void> {
    this.#ending = true;
    await this.#clients;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #client(id: number, ask: (x: number[]) => Promise<Values>): Promise<void> {
    for (let i = 0; !this.#ending; i++) {
      const x = [id, i % 1000, 1];
      const [atLeast, askedAt] = [this.newest, performance.now()];
      const { version, y } = await ask(x);
      const expected = x.map((value) => version * value + 1);
      if (y.join() !== expected.join()) throw new Error(`Not version ${version}'s answer, ${expected}: ${y}`);
      if (version < atLeast || version > this.#published())
        throw new Error(`Version ${version} answered after ${atLeast}, of ${this.#published()}`);
      this.newest = Math.max(this.newest, version);
      this.answers.push({ version, askedAt, tookMs: performance.now() - askedAt });
    }
  }
}

type Values = { version: number; y: number[] };

/** @throws {Error} at anything but an answer */
async function askHttp(url: string, x: number[]): Promise<Values> {
  const body = JSON.stringify({
    parameters: { cache: false },
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 3], data: x }],
  });
  const response = await fetch(`${url}/v2/models/m/infer`, { method: "POST", body });
  const text = await response.text();
  if (response.status !== 200) throw new Error(`A request failed with ${response.status}: ${text}`);
  const { model_version, outputs } = JSON.parse(text) as {
    model_version: string;
    outputs: { data: number[] }[];
  };
  return { version: Number(model_version), y: outputs[0]!.data };
}

/** @throws {ServiceError} at anything but an answer */
async function askGrpc(client: OipClient, x: number[]): Promise<Values> {
  const { model_version, raw_output_contents } = await client.infer({
    model_name: "m",
    parameters: { cache: { bool_param: false } },
    inputs: [{ name: "x", datatype: "FP32", shape: [1, 3] }],
    raw_input_contents: [new Uint8Array(Float32Array.from(x).buffer)],
  });
  // Copied, as elements may lie at any place of a message.
  return {
    version: Number(model_version),
    y: [...new Float32Array(Uint8Array.from(raw_output_contents[0]!).buffer)],
  };
}

function p99(times: number[]): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
}
