/**
 * Entry of an inference worker thread: holds one ONNX Runtime session per model version and runs what it is asked,
 * one message at a time, in order. It opens the store and hashes model files itself, so that the broker's loop
 * never does. `onnxruntime-node` computes on the calling thread: this thread is where that is allowed.
 */

import { isMainThread, parentPort, workerData } from "node:worker_threads";
import { InferenceSession, type Tensor as OrtTensor } from "onnxruntime-node";
import type { ModelSignature } from "../protocol/models.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { rowsAreIndependent, runFilled } from "./batch-probe.ts";
import { flattenError } from "./flat-error.ts";
import {
  type FromWorker,
  LOAD_REFUSED,
  type LoadedModel,
  type ModelSource,
  RUN_REFUSED,
  type ToWorker,
} from "./inference-messages.ts";
import { NativeGate } from "./native-gate.ts";
import { fromOrt, signatureOf, toOrt } from "./ort-tensor.ts";

if (isMainThread || !parentPort) throw new Error("inference-worker.ts is the entry of a worker thread");
const port = parentPort;
const gate = new NativeGate((workerData as { gate: SharedArrayBuffer }).gate);

const SESSION_OPTIONS: InferenceSession.SessionOptions = {
  executionProviders: ["cpu"],
  graphOptimizationLevel: "all",
  executionMode: "sequential",
  // Parallelism comes from the number of workers; threads inside a run would fight over the same cores.
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  // Failures are answered, with the runtime's reason; it need not print them as well.
  logSeverityLevel: 4,
  // A spinning thread pool takes the core from the broker.
  extra: { session: { intra_op: { allow_spinning: "0" }, inter_op: { allow_spinning: "0" } } },
};

const sessions = new Map<string, InferenceSession>();
const send = (message: FromWorker, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer);

/** Messages are taken strictly one after another: an `await` in a load must not let a run overtake it. */
let last: Promise<void> = Promise.resolve();
let waiting = 0;

port.on("message", (message: ToWorker) => {
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
        return send({ kind: "loaded", seq, model: await load(message.id, message.source) });
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
    send({
      kind: "failed",
      seq,
      error: flattenError(error, message.kind === "load" ? LOAD_REFUSED : RUN_REFUSED),
    });
  }
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

async function load(id: string, source: ModelSource): Promise<LoadedModel> {
  if (sessions.has(id)) throw new Error(`model ${id} is already loaded in this worker`);
  const bytes = "bytes" in source ? source.bytes : await readArtifact(source);
  const session = await gate.through(() => InferenceSession.create(bytes, SESSION_OPTIONS));
  try {
    const signature = signatureOf(session);
    const zero = await gate.through(() => warmUp(session, signature));
    const batchable =
      zero !== undefined && (await gate.through(() => rowsAreIndependent(session, signature, zero)));
    sessions.set(id, session);
    return { signature, batchable };
  } catch (error) {
    await gate.through(() => session.release());
    throw error;
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

/**
 * One run on zeros at batch 1, so that the first caller does not pay for lazy allocation. A model with further free
 * dimensions may rightly refuse a size of 1 there; only one whose sizes are all known has to run.
 */
async function warmUp(session: InferenceSession, signature: ModelSignature): Promise<Tensor[] | undefined> {
  const sizesKnown = signature.inputs.every(({ shape }) => !shape.slice(1).includes(-1));
  try {
    return await runFilled(session, signature, [0]);
  } catch (error) {
    if (sizesKnown) throw error;
    return undefined;
  }
}

async function unload(id: string): Promise<void> {
  const session = sessions.get(id);
  sessions.delete(id);
  if (session) await gate.through(() => session.release());
}
