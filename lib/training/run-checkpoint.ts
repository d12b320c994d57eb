/**
 * A run in the middle, as one safetensors file: the flat vectors of its state as tensors, everything else (cursor,
 * streams, history) as JSON in the file's metadata. Numbers survive to the bit: tensors are stored as they are, and
 * JSON gives every finite double back. Says whose run it is and on which data, so that no other goes on from it.
 */

import { errorMessage, InvalidModelError } from "../errors.ts";
import { type NamedArrays, readSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import type { RunSnapshot } from "./run-snapshot.ts";

/** Whose run it is. Part of the bytes, so that two jobs, or two attempts at one, never share a stored file. */
export type RunIdentity = { jobId: string; attempt: number; datasetDigest: string };

export type RunCheckpoint = { identity: RunIdentity; snapshot: RunSnapshot };

const FORMAT = "moiety-run-1";
const SLOT = "slot/";

type Described = { identity: RunIdentity; step: number } & Omit<RunSnapshot, "state">;

export function writeRunCheckpoint(identity: RunIdentity, snapshot: RunSnapshot): Uint8Array {
  const { state, ...rest } = snapshot;
  const tensors: NamedArrays = new Map();
  const add = (name: string, data: Float32Array) => tensors.set(name, { shape: [data.length], data });
  add("weights", state.weights);
  if (state.statistics.length > 0) add("statistics", state.statistics);
  for (const [name, data] of state.slots) add(SLOT + name, data);
  const described: Described = { identity, step: state.step, ...rest };
  return writeSafetensors(tensors, { format: FORMAT, run: JSON.stringify(described) });
}

/** @throws {InvalidModelError} */
export function readRunCheckpoint(bytes: Uint8Array): RunCheckpoint {
  const { tensors, metadata } = readSafetensors(bytes);
  if (metadata.format !== FORMAT || metadata.run === undefined)
    throw new InvalidModelError(
      "run checkpoint",
      `format is '${metadata.format ?? ""}', expected '${FORMAT}'`,
    );
  const { identity, step, ...rest } = parse(metadata.run);
  const data = (name: string) => tensors.get(name)?.data ?? new Float32Array(0);
  const slots = new Map(
    [...tensors.keys()].flatMap((name) =>
      name.startsWith(SLOT) ? [[name.slice(SLOT.length), data(name)] as const] : [],
    ),
  );
  const state = { step, weights: data("weights"), statistics: data("statistics"), slots };
  return { identity, snapshot: { ...rest, state } };
}

function parse(text: string): Described {
  try {
    return JSON.parse(text) as Described;
  } catch (error) {
    throw new InvalidModelError("run checkpoint", `its description is not JSON (${errorMessage(error)})`);
  }
}
