/**
 * Entry of an inference worker, a thread or a process: holds one ONNX Runtime session per model version and runs what it is asked,
 * one message at a time, in order. It opens the store and hashes model files itself, so that the broker's loop
 * never does. `onnxruntime-node` computes on the calling thread: here that is allowed.
 */

import { InferenceSession, type Tensor as OrtTensor } from "onnxruntime-node";
import { errorMessage } from "../errors.ts";
import type { WarmupRequest } from "../protocol/model-configuration.ts";
import type { ModelSignature } from "../protocol/models.ts";
import type { Datatype } from "../tensor/datatype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { rowsAreIndependent, runFilled } from "./batch-probe.ts";
import { flattenError } from "./flat-error.ts";
import {
  CONFIGURATION_REFUSED,
  ConfigurationRefused,
  type FromWorker,
  type InstanceOptions,
  LOAD_REFUSED,
  type LoadedModel,
  type ModelSource,
  RUN_REFUSED,
  type ToWorker,
} from "./inference-messages.ts";
import { fromOrt, signatureOf, toOrt } from "./ort-tensor.ts";
import { sessionOptions } from "./session-options.ts";
import { warmupFeeds } from "./warmup-feeds.ts";
import { openWorkerPort } from "./worker-port.ts";

const port = openWorkerPort();
const { gate } = port;

const sessions = new Map<string, InferenceSession>();
const send = (message: FromWorker, transfer: ArrayBuffer[] = []) => port.post(message, transfer);

/** Messages are taken strictly one after another: an `await` in a load must not let a run overtake it. */
let last: Promise<void> = Promise.resolve();
let waiting = 0;

port.onMessage((message) => {
  // The common case, nothing before it: no extra turn through the promise queue.
  const turn = waiting++ === 0 ? answer(message) : last.then(() => answer(message));
  last = turn.then(() => {
    waiting--;
  });
});
send({ kind: "started" });

async function answer(message: ToWorker): Promise<void> {
  const { seq } = message;
  try {
    switch (message.kind) {
      case "run":
        return await run(seq, message.id, message.feeds, message.outputs);
      case "load":
        return send({ kind: "loaded", seq, model: await load(message) });
      case "unload":
        await unload(message.id);
        return send({ kind: "done", seq });
      case "close":
        for (const id of [...sessions.keys()]) await unload(id);
        send({ kind: "done", seq });
        return port.close();
      default:
        message satisfies never;
    }
  } catch (error) {
    send({ kind: "failed", seq, error: flattenError(error, failureType(message.kind, error)) });
  }
}

/** Of what is not one of Moiety's own errors. */
function failureType(kind: ToWorker["kind"], error: unknown): string {
  if (error instanceof ConfigurationRefused) return CONFIGURATION_REFUSED;
  return kind === "load" ? LOAD_REFUSED : RUN_REFUSED;
}

async function run(seq: number, id: string, feeds: Tensor[], outputs: readonly string[] | undefined) {
  const session = sessions.get(id);
  if (!session) throw new Error(`model ${id} is not loaded in this worker`);
  const startedAt = performance.now();
  const values: Record<string, OrtTensor> = {};
  for (const tensor of feeds) values[tensor.name] = toOrt(tensor);
  const inferAt = performance.now();
  const results = await gate.through(() => (outputs ? session.run(values, outputs) : session.run(values)));

  if (gate.isShut) process.exit();
  const outputAt = performance.now();
  const tensors: Tensor[] = [];
  const transfer: ArrayBuffer[] = [];
  for (const name of outputs ?? session.outputNames) {
    const tensor = fromOrt(name, results[name]!);
    tensors.push(tensor);
    if (!Array.isArray(tensor.data) && !transfer.includes(tensor.data.buffer as ArrayBuffer))
      transfer.push(tensor.data.buffer as ArrayBuffer);
  }
  const times = {
    inputMs: inferAt - startedAt,
    inferMs: outputAt - inferAt,
    outputMs: performance.now() - outputAt,
  };
  send({ kind: "ran", seq, outputs: tensors, times }, transfer);
}

async function load({ id, source, options }: ToWorker & { kind: "load" }): Promise<LoadedModel> {
  if (sessions.has(id)) throw new Error(`model ${id} is already loaded in this worker`);
  const bytes = "bytes" in source ? source.bytes : await readArtifact(source);
  const session = await create(bytes, options);
  try {
    const signature = signatureOf(session);
    const zero = await gate.through(() => warmUp(session, signature));
    const batchable =
      zero !== undefined && (await gate.through(() => rowsAreIndependent(session, signature, zero)));
    for (const [i, request] of (options.warmup ?? []).entries())
      await warmUpWith(session, request, signature, `warmup[${i}]`);
    sessions.set(id, session);
    return { signature, batchable };
  } catch (error) {
    await gate.through(() => session.release());
    throw error;
  }
}

async function create(bytes: Uint8Array, options: InstanceOptions): Promise<InferenceSession> {
  const made = sessionOptions(options);
  try {
    return await gate.through(() => InferenceSession.create(bytes, made));
  } catch (error) {
    if (made.executionProviders[0] === "cpu") throw error;
    const reason = errorMessage(error).trim();
    throw new ConfigurationRefused(`execution provider ${options.provider} cannot run it here: ${reason}`);
  }
}

async function readArtifact(source: Exclude<ModelSource, { bytes: Uint8Array }>): Promise<Uint8Array> {
  // Only when needed: a thread that serves given bytes starts without any store client.
  const { openStore } = await import("../store/open-store.ts");
  const store = await openStore(source.location);
  try {
    return await store.artifacts.get(source.digest);
  } finally {
    await store.close();
  }
}

const FRACTIONS: ReadonlySet<Datatype> = new Set(["FP16", "FP32", "FP64"]);

/**
 * One run on zeros at batch 1, so that the first caller does not pay for lazy allocation. A model with further free
 * dimensions may rightly refuse a size of 1 there, and one that takes integers may refuse zeros as lengths, shapes or
 * indices; only one of fractions whose sizes are all known has to run.
 */
async function warmUp(session: InferenceSession, signature: ModelSignature): Promise<Tensor[] | undefined> {
  const mustRun = signature.inputs.every(
    ({ datatype, shape }) => FRACTIONS.has(datatype) && !shape.slice(1).includes(-1),
  );
  try {
    return await runFilled(session, signature, [0]);
  } catch (error) {
    if (mustRun) throw error;
    return undefined;
  }
}

/** A request of the model's configuration, as often as that says. @throws {ConfigurationRefused} */
async function warmUpWith(
  session: InferenceSession,
  request: WarmupRequest,
  signature: ModelSignature,
  which: string,
): Promise<void> {
  try {
    const feeds = warmupFeeds(request, signature).map((tensor) => [tensor.name, toOrt(tensor)] as const);
    for (let i = 0; i < (request.count ?? 1); i++)
      await gate.through(() => session.run(Object.fromEntries(feeds)));
  } catch (error) {
    throw new ConfigurationRefused(`its ${which} failed: ${errorMessage(error)}`);
  }
}

async function unload(id: string): Promise<void> {
  const session = sessions.get(id);
  sessions.delete(id);
  if (session) await gate.through(() => session.release());
}
