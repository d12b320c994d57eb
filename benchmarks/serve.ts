/**
 * `npm run bench:serve`: requests per second, p50 and p99 of single-image prediction over HTTP at 1, 16 and 64
 * connections, prediction cache off: Moiety in one process against the peers, and its cluster against one process.
 *
 * All servers are up from the start, and stopped (SIGSTOP) while another is measured. Rounds are interleaved. The
 * load generator checks every answer: Moiety, FastAPI and bare serve the same ONNX file and must agree with
 * onnxruntime on every image; the Flask sample has weights of its own and must know nearly all digits.
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ModelVersion } from "../lib/protocol/models.ts";
import { openStore } from "../lib/store/open-store.ts";
import { type Child, type Children, withChildren } from "./children.ts";
import { type LoadOrder, type LoadResult, MAX_EXTENSION } from "./load.ts";
import { type DigitImage, MNIST_DIRECTORY, testImages } from "./mnist.ts";
import { type BenchmarkOptions, readOptions } from "./options.ts";
import { BENCH_DIRECTORY, missingPeers, PYTHON } from "./peers/peers.ts";
import { openReferenceModel } from "./reference-model.ts";
import { Report, rotated } from "./report.ts";
import { PEER_SERVERS, type PeerName, type Server, startCluster, startEmbedded } from "./servers.ts";

const PATH = "json";
const OURS = "moiety";
const CLUSTER = "cluster";
/** The peer's name on the command line and in ratios: the cluster is compared with one embedded process. */
const EMBEDDED = "embedded";
const MODEL = "mnist";
const IMAGES = 256;
/** Share of digits a server with weights of its own must know. */
const OWN_WEIGHTS_MIN_RIGHT = 0.9;
const SETTLE_DEADLINE_MS = 120_000;
const SETTLE_LOAD_MS = 300;
const LOAD_GRACE_MS = 60_000;
const FLASK_MODEL_FILE = join(BENCH_DIRECTORY, "flask.keras");
const FLASK_MODEL_DEADLINE_MS = 300_000;

type Plan = { rounds: number; connections: readonly number[]; warmUpMs: number; durationMs: number };
type Entry = Server & { path: string; requests: LoadOrder["requests"]; minRight: number };

const options = readOptions(process.argv.slice(2), [...Object.keys(PEER_SERVERS), EMBEDDED]);
const report = new Report();
await withChildren((children) => benchmark(children, options));
report.print(options.json);

async function benchmark(children: Children, { peers, quick, rounds }: BenchmarkOptions): Promise<void> {
  const plan: Plan = quick
    ? { rounds: rounds ?? 1, connections: [1, 16, 64], warmUpMs: 300, durationMs: 1_000 }
    : { rounds: rounds ?? 5, connections: [1, 16, 64], warmUpMs: 1_000, durationMs: 4_000 };
  mkdirSync(BENCH_DIRECTORY, { recursive: true });
  const directory = mkdtempSync(join(BENCH_DIRECTORY, "serve-"));
  try {
    const load = children.start({
      name: "load",
      command: process.execPath,
      args: [join(import.meta.dirname, "load.ts")],
    });
    const entries = await enterAll(children, load, directory, peers);
    for (let round = 1; round <= plan.rounds; round++)
      for (const connections of plan.connections)
        for (const entry of rotated(entries, round)) {
          const where = `round ${round} of ${plan.rounds}, ${connections} connections, ${entry.name}`;
          try {
            const result = await turn(load, entry, connections, plan);
            record(entry, connections, result);
            console.error(`${where}: ${summary(result)}`);
          } catch (error) {
            if (entry.name === OURS) throw error;
            console.error(`${where}: ${(error as Error).message}`);
            report.missing(peerName(entry), (error as Error).message);
            entries.splice(entries.indexOf(entry), 1);
            await children.stop(entry.child);
          }
        }
    for (const entry of entries) for (const connections of plan.connections) compare(entry, connections);
  } finally {
    await children.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Starts ours and every peer that can be had; each must answer rightly once, and is then stopped until its turn. */
async function enterAll(
  children: Children,
  load: Child,
  directory: string,
  peers: readonly string[],
): Promise<Entry[]> {
  const missing = missingPeers(peers);
  for (const { peer, reason } of missing) report.missing(peer, reason);

  console.error(`${OURS}: starting; it trains the model first …`);
  const dataDirectory = join(directory, "data");
  const embedded = await startEmbedded(children, dataDirectory);
  const images = testImages(IMAGES);
  const onnx = join(directory, "model.onnx");
  writeFileSync(onnx, await publishedModel(dataDirectory));
  const same = { digits: await referenceDigits(onnx, images), minRight: 1 };
  const own = { digits: images.map(({ digit }) => digit), minRight: OWN_WEIGHTS_MIN_RIGHT };

  const enter = async (server: Server, path: string, { digits, minRight }: typeof same): Promise<Entry> => {
    const requests = images.map((image, i) => ({ body: server.body(image), digit: digits[i]! }));
    const entry = { ...server, path, requests, minRight };
    try {
      await settle(load, entry);
    } catch (error) {
      await children.stop(server.child);
      throw error;
    }
    server.child.pause();
    return entry;
  };

  const entries = [await enter(embedded, PATH, same)];
  for (const peer of peers.filter((name) => !missing.some((m) => m.peer === name))) {
    try {
      if (peer === EMBEDDED) {
        console.error(`${CLUSTER}: starting; it trains the model first …`);
        entries.push(await enter(await startCluster(children), CLUSTER, own));
      } else {
        console.error(`${peer}: starting …`);
        const models = { onnx, keras: peer === "flask" ? await flaskModel(children) : "" };
        const server = await PEER_SERVERS[peer as PeerName](children, models);
        entries.push(await enter(server, PATH, peer === "flask" ? own : same));
      }
    } catch (error) {
      report.missing(peer, (error as Error).message);
    }
  }
  return entries;
}

async function turn(load: Child, entry: Entry, connections: number, plan: Plan): Promise<LoadResult> {
  entry.child.resume();
  await settle(load, entry);
  const { warmUpMs, durationMs } = plan;
  const result = await order(load, entry, connections, warmUpMs, durationMs);
  entry.child.pause();
  return result;
}

/** Waits until a server that was started or stopped answers everything: cluster nodes must find each other first. */
async function settle(load: Child, entry: Entry): Promise<void> {
  const until = performance.now() + SETTLE_DEADLINE_MS;
  for (;;) {
    try {
      await order(load, entry, 2, 0, SETTLE_LOAD_MS);
      return;
    } catch (error) {
      if (entry.child.ended || load.ended || performance.now() > until) throw error;
    }
  }
}

function order(
  load: Child,
  { url, requests, minRight }: Entry,
  connections: number,
  warmUpMs: number,
  durationMs: number,
): Promise<LoadResult> {
  const message: LoadOrder = { url, requests, minRight, connections, warmUpMs, durationMs };
  return load.ask<LoadResult>(message, warmUpMs + durationMs * MAX_EXTENSION + LOAD_GRACE_MS);
}

function record({ name, path }: Entry, connections: number, result: LoadResult): void {
  report.add(seriesName(path, connections, "throughput", name), "requests/s", result.requestsPerSecond);
  report.add(seriesName(path, connections, "p50", name), "ms", result.p50Ms);
  report.add(seriesName(path, connections, "p99", name), "ms", result.p99Ms);
}

function summary({ requestsPerSecond, p50Ms, p99Ms, cpuShare }: LoadResult): string {
  return (
    `${requestsPerSecond.toFixed(0)} requests/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms ` +
    `(load generator: ${(cpuShare * 100).toFixed(0)}% of a core)`
  );
}

function peerName({ name }: Entry): string {
  return name === CLUSTER ? EMBEDDED : name;
}

/** Ours against this entry, or the cluster against ours in one process. */
function compare({ name, path }: Entry, connections: number): void {
  if (name === OURS) return;
  for (const metric of ["throughput", "p99"] as const) {
    const ours = seriesName(PATH, connections, metric, OURS);
    const other = seriesName(path, connections, metric, name);
    if (path === PATH) report.ratio(`serve.${path}.c${connections}.${metric}.vs.${name}`, ours, other);
    else report.ratio(`serve.${path}.c${connections}.${metric}.vs.${EMBEDDED}`, other, ours);
  }
  if (path === CLUSTER)
    report.difference(
      `serve.${path}.c${connections}.p50.added`,
      seriesName(path, connections, "p50", name),
      seriesName(PATH, connections, "p50", OURS),
    );
}

/** `serve.json.c64.p99.fastapi`; the cluster's own are `serve.cluster.c64.p99.moiety`. */
function seriesName(path: string, connections: number, metric: string, contestant: string): string {
  return `serve.${path}.c${connections}.${metric}.${contestant === CLUSTER ? OURS : contestant}`;
}

/** The ONNX file of the version that a data directory's store holds of the example model. */
async function publishedModel(directory: string): Promise<Uint8Array> {
  const store = await openStore({ kind: "files", directory });
  try {
    for (const key of await store.records.keys("")) {
      const value = (await store.records.get<Partial<ModelVersion>>(key))?.value;
      if (value?.model === MODEL && value.artifacts)
        return await store.artifacts.get(value.artifacts.onnx.digest);
    }
    throw new Error(`no published version of ${MODEL} in ${directory}`);
  } finally {
    await store.close();
  }
}

async function referenceDigits(onnx: string, images: readonly DigitImage[]): Promise<number[]> {
  const model = await openReferenceModel(onnx, 1);
  try {
    const digits: number[] = [];
    for (const { pixels } of images) {
      const scores = await model.scores(pixels);
      digits.push(scores.indexOf(Math.max(...scores)));
    }
    return digits;
  } finally {
    await model.close();
  }
}

/** The Flask sample's model, trained once and kept. */
async function flaskModel(children: Children): Promise<string> {
  if (existsSync(FLASK_MODEL_FILE)) return FLASK_MODEL_FILE;
  console.error("flask: training its model …");
  const child = children.start({
    name: "flask-model",
    command: PYTHON,
    args: [join(import.meta.dirname, "contestants", "flask_model.py"), MNIST_DIRECTORY, FLASK_MODEL_FILE],
    env: { PYTHONDONTWRITEBYTECODE: "1" },
  });
  await child.line((line) => line === "saved", FLASK_MODEL_DEADLINE_MS);
  await children.stop(child);
  return FLASK_MODEL_FILE;
}
