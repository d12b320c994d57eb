/**
 * The servers of one run of `bench:serve`: started once, asked until they answer rightly, then stopped (SIGSTOP) until
 * their turn. Moiety comes first: it trains the model that all others serve. A peer that cannot be started or does not
 * answer as onnxruntime does is named as missing; Moiety must.
 */

import { cpSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Child, Children } from "./children.ts";
import { type LoadOrder, type LoadResult, MAX_EXTENSION } from "./load.ts";
import { MNIST_DIRECTORY, testImages } from "./mnist.ts";
import type { EndpointName, Seat, ServerName } from "./paths.ts";
import { BENCH_DIRECTORY, type MissingPeer, missingPeers, PYTHON } from "./peers/peers.ts";
import { publishedModel, referenceDigits } from "./published-model.ts";
import { isPythonServer, startPythonServer } from "./python-servers.ts";
import { type Server, startBare, startCluster, startEmbedded } from "./servers.ts";

const IMAGES = 256;
/** Share of digits a server with weights of its own must know. */
const OWN_WEIGHTS_MIN_RIGHT = 0.9;
const OWN_WEIGHTS: readonly ServerName[] = ["flask", "cluster"];
/** What a path that is called cached must have of its answers from there. */
const CACHED_MIN_SHARE = 0.99;
const STATISTICS_DEADLINE_MS = 10_000;
const SETTLE_DEADLINE_MS = 120_000;
const SETTLE_LOAD_MS = 300;
const LOAD_GRACE_MS = 60_000;
const FLASK_MODEL_FILE = join(BENCH_DIRECTORY, "flask.keras");
const FLASK_MODEL_DEADLINE_MS = 300_000;

/** What is asked of a server in one measurement, besides whom and what. */
export type Load = Pick<LoadOrder, "connections" | "warmUpMs" | "durationMs" | "arrivals">;

export type TurnResult = LoadResult & {
  /** Processor time of the server and its children, for each request. */
  serverCpuUsPerRequest: number;
};

type Question = Pick<LoadOrder, "target" | "requests" | "minRight">;
type Asking = { question: Question; statisticsUrl: string | undefined };
type Entry = { child: Child; asked: Map<EndpointName, Asking> };

export class Roster {
  readonly #children: Children;
  readonly #load: Child;
  readonly #directory: string;
  readonly #images = testImages(IMAGES);
  readonly #entries = new Map<ServerName, Entry>();
  #referenceDigits: readonly number[] = [];

  /** @param directory of this run alone */
  constructor(children: Children, directory: string) {
    this.#children = children;
    this.#directory = directory;
    this.#load = children.start({
      name: "load",
      command: process.execPath,
      args: [join(import.meta.dirname, "load.ts")],
    });
  }

  /** The model all serve, once Moiety has started. */
  get onnxFile(): string {
    return join(this.#directory, "model.onnx");
  }

  has({ server }: Seat): boolean {
    return this.#entries.has(server);
  }

  /** A copy of Moiety's data directory, for a process of its own. */
  copyData(name: string): string {
    const copy = join(this.#directory, name);
    cpSync(join(this.#directory, "moiety"), copy, { recursive: true });
    return copy;
  }

  /**
   * Starts Moiety and whatever the seats need.
   * @returns the servers that cannot be had
   * @throws {Error} when Moiety itself fails
   */
  async start(seats: readonly Seat[]): Promise<MissingPeer[]> {
    console.error("moiety: starting; it trains the model first …");
    const dataDirectory = join(this.#directory, "moiety");
    const moiety = await startEmbedded(this.#children, "moiety", dataDirectory);
    writeFileSync(this.onnxFile, await publishedModel(dataDirectory));
    this.#referenceDigits = await referenceDigits(this.onnxFile, this.#images);
    await this.#enter("moiety", moiety, endpointsOf("moiety", seats));

    const names = [...new Set(seats.map(({ server }) => server))].filter((name) => name !== "moiety");
    const missing = missingPeers(names);
    for (const name of names.filter((name) => !missing.some(({ peer }) => peer === name)))
      try {
        console.error(`${name}: starting …`);
        await this.#enter(name, await this.#startServer(name), endpointsOf(name, seats));
      } catch (error) {
        if (name === "cluster" || name === "unbatched") throw error;
        missing.push({ peer: name, reason: (error as Error).message });
      }
    return missing;
  }

  /** One measurement of a server that was stopped until now and is stopped again. @throws {Error} see `runLoad` */
  async turn({ server, endpoint }: Seat, load: Load): Promise<TurnResult> {
    const { child, asked } = this.#entries.get(server)!;
    const { question, statisticsUrl } = asked.get(endpoint)!;
    child.resume();
    try {
      await this.#settle(child, question);
      const hitsBefore = statisticsUrl === undefined ? 0 : await cacheHits(statisticsUrl);
      const cpuBeforeMs = child.cpuMs;
      const result = await this.#order(question, load);
      const serverCpuUsPerRequest = ((child.cpuMs - cpuBeforeMs) * 1000) / result.requests;
      if (statisticsUrl !== undefined) {
        const share = ((await cacheHits(statisticsUrl)) - hitsBefore) / result.requests;
        if (share < CACHED_MIN_SHARE)
          throw new Error(`only ${(share * 100).toFixed(1)}% of answers came from the cache`);
      }
      return { ...result, serverCpuUsPerRequest };
    } finally {
      child.pause();
    }
  }

  async #startServer(name: ServerName): Promise<Server> {
    if (name === "cluster") return startCluster(this.#children);
    if (name === "unbatched")
      return startEmbedded(this.#children, name, this.copyData(name), { MOIETY_INFERENCE_MAX_BATCH: "1" });
    if (isPythonServer(name)) {
      const keras = name === "flask" ? await this.#flaskModel() : "";
      return startPythonServer(this.#children, name, {
        onnx: this.onnxFile,
        keras,
        directory: this.#directory,
      });
    }
    return startBare(this.#children, this.onnxFile);
  }

  async #enter(name: ServerName, server: Server, endpoints: readonly EndpointName[]): Promise<void> {
    const { child } = server;
    const own = OWN_WEIGHTS.includes(name);
    const asked = new Map<EndpointName, Asking>();
    try {
      for (const endpointName of endpoints) {
        const endpoint = server.endpoints[endpointName];
        if (!endpoint) throw new Error(`${name} has no way to be asked by ${endpointName}`);
        const { body, statisticsUrl, ...target } = endpoint;
        const requests = this.#images.map((image, i) => ({
          body: Buffer.from(body(image)).toString("base64"),
          digit: own ? image.digit : this.#referenceDigits[i]!,
        }));
        const question = { target, requests, minRight: own ? OWN_WEIGHTS_MIN_RIGHT : 1 };
        await this.#settle(child, question);
        asked.set(endpointName, { question, statisticsUrl });
      }
    } catch (error) {
      await this.#children.stop(child);
      throw error;
    }
    this.#entries.set(name, { child, asked });
    child.pause();
  }

  /** Waits until a server that was started or stopped answers everything: cluster nodes must find each other first. */
  async #settle(child: Child, question: Question): Promise<void> {
    const until = performance.now() + SETTLE_DEADLINE_MS;
    for (;;) {
      try {
        await this.#order(question, { connections: 2, warmUpMs: 0, durationMs: SETTLE_LOAD_MS });
        return;
      } catch (error) {
        if (child.ended || this.#load.ended || performance.now() > until) throw error;
      }
    }
  }

  #order(question: Question, load: Load): Promise<LoadResult> {
    const message: LoadOrder = { ...question, ...load };
    return this.#load.ask<LoadResult>(
      message,
      load.warmUpMs + load.durationMs * MAX_EXTENSION + LOAD_GRACE_MS,
    );
  }

  /** The Flask sample's model, trained once and kept. */
  async #flaskModel(): Promise<string> {
    if (existsSync(FLASK_MODEL_FILE)) return FLASK_MODEL_FILE;
    console.error("flask: training its model …");
    const child = this.#children.start({
      name: "flask-model",
      command: PYTHON,
      args: [join(import.meta.dirname, "contestants", "flask_model.py"), MNIST_DIRECTORY, FLASK_MODEL_FILE],
      env: { PYTHONDONTWRITEBYTECODE: "1" },
    });
    await child.line((line) => line === "saved", FLASK_MODEL_DEADLINE_MS);
    await this.#children.stop(child);
    return FLASK_MODEL_FILE;
  }
}

async function cacheHits(statisticsUrl: string): Promise<number> {
  const response = await fetch(statisticsUrl, { signal: AbortSignal.timeout(STATISTICS_DEADLINE_MS) });
  const { model_stats } = (await response.json()) as {
    model_stats: { inference_stats: { cache_hit: { count: number | string } } }[];
  };
  return model_stats.reduce((sum, { inference_stats }) => sum + Number(inference_stats.cache_hit.count), 0);
}

function endpointsOf(name: ServerName, seats: readonly Seat[]): EndpointName[] {
  return [...new Set(seats.filter(({ server }) => server === name).map(({ endpoint }) => endpoint))];
}
