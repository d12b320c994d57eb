/**
 * A run in the middle, as one safetensors file: the flat vectors of its state as tensors, everything else (cursor,
 * streams, history) as JSON in the file's metadata. Numbers survive to the bit: tensors are stored as they are, and
 * JSON gives every double back, those that it has no text for as strings. Says whose run it is and on which data, so that no other goes on from it.
 */

import { errorMessage, InvalidModelError } from "../errors.ts";
import { type NamedArrays, readSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import type { CallbackState } from "./callbacks/callback.ts";
import type { RunSnapshot } from "./run-snapshot.ts";

/** Whose run it is. Part of the bytes, so that two jobs, or two attempts at one, never share a stored file. */
export type RunIdentity = { jobId: string; attempt: number; datasetDigest: string };

export type RunCheckpoint = { identity: RunIdentity; snapshot: RunSnapshot };

const FORMAT = "moiety-run-1";
const SLOT = "slot/";

const KEPT = "kept/";

type Described = { identity: RunIdentity; step: number; states: CallbackState[] } & Omit<
  RunSnapshot,
  "state" | "callbacks"
>;

export function writeRunCheckpoint(identity: RunIdentity, snapshot: RunSnapshot): Uint8Array {
  const { state, callbacks, ...rest } = snapshot;
  const tensors: NamedArrays = new Map();
  const add = (name: string, data: Float32Array) => tensors.set(name, { shape: [data.length], data });
  add("weights", state.weights);
  if (state.statistics.length > 0) add("statistics", state.statistics);
  for (const [name, data] of state.slots) add(SLOT + name, data);
  for (const [i, { kept }] of callbacks.entries()) {
    if (!kept) continue;
    add(`${KEPT}${i}/weights`, kept.weights);
    if (kept.statistics.length > 0) add(`${KEPT}${i}/statistics`, kept.statistics);
  }
  const states = callbacks.map((entry) => entry.state);
  const described: Described = { identity, step: state.step, states, ...rest };
  return writeSafetensors(tensors, { format: FORMAT, run: JSON.stringify(described, encodeNumber) });
}

/** @throws {InvalidModelError} */
export function readRunCheckpoint(bytes: Uint8Array): RunCheckpoint {
  const { tensors, metadata } = readSafetensors(bytes);
  if (metadata.format !== FORMAT || metadata.run === undefined)
    throw new InvalidModelError(
      "run checkpoint",
      `format is '${metadata.format ?? ""}', expected '${FORMAT}'`,
    );
  const { identity, step, states, ...rest } = parse(metadata.run);
  const data = (name: string) => tensors.get(name)?.data ?? new Float32Array(0);
  const slots = new Map(
    [...tensors.keys()].flatMap((name) =>
      name.startsWith(SLOT) ? [[name.slice(SLOT.length), data(name)] as const] : [],
    ),
  );
  const state = { step, weights: data("weights"), statistics: data("statistics"), slots };
  const callbacks = states.map((callback, i) => ({
    state: callback,
    kept: tensors.has(`${KEPT}${i}/weights`)
      ? { weights: data(`${KEPT}${i}/weights`), statistics: data(`${KEPT}${i}/statistics`) }
      : null,
  }));
  return { identity, snapshot: { ...rest, state, callbacks } };
}

function parse(text: string): Described {
  try {
    return JSON.parse(text, decodeNumber) as Described;
  } catch (error) {
    throw new InvalidModelError("run checkpoint", `its description is not JSON (${errorMessage(error)})`);
  }
}

/** A validation loss may be infinite or no number, and is to be the same after reading. */
const encodeNumber = (_name: string, value: unknown): unknown =>
  typeof value === "number" && !Number.isFinite(value) ? { number: String(value) } : value;

function decodeNumber(_name: string, value: unknown): unknown {
  const text = (value as { number?: unknown } | null)?.number;
  return typeof text === "string" ? Number(text) : value;
}
