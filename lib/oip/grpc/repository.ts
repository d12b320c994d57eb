/** The messages of the model repository extension. */

import { InvalidInputError } from "../../errors.ts";
import { checkRepositoryParameters, type IndexEntry } from "../repository.ts";
import { readName } from "../request-fields.ts";
import { END, lengthDelimited, type MessageReader, readMessage, varint } from "./message-reader.ts";
import { printMessage } from "./message-writer.ts";

const REPOSITORY_NAME = lengthDelimited(1);
const READY = varint(2);
const MODEL_NAME = lengthDelimited(2);
const PARAMETERS = lengthDelimited(3);

const BOOL_PARAM = varint(1);
const INT64_PARAM = varint(2);
const STRING_PARAM = lengthDelimited(3);
const BYTES_PARAM = lengthDelimited(4);

/** `RepositoryIndexRequest`. @throws {MalformedBodyError} {InvalidInputError} */
export function readIndexMessage(bytes: Uint8Array): { ready: boolean } {
  let [repository, ready] = ["", false];
  readMessage(bytes, "RepositoryIndexRequest", (reader, end) => {
    for (let key = reader.next(end); key !== END; key = reader.next(end))
      if (key === REPOSITORY_NAME) repository = reader.text();
      else if (key === READY) ready = reader.bool();
      else reader.pass(key);
  });
  checkRepository(repository);
  return { ready };
}

/**
 * `RepositoryModelLoadRequest` and `RepositoryModelUnloadRequest`.
 * @throws {MalformedBodyError} {InvalidInputError} for parameters too that the request does not have
 */
export function readChangeMessage(bytes: Uint8Array, request: "load" | "unload"): { model: string } {
  const what = request === "load" ? "RepositoryModelLoadRequest" : "RepositoryModelUnloadRequest";
  let [repository, model] = ["", ""];
  readMessage(bytes, what, (reader, end) => {
    for (let key = reader.next(end); key !== END; key = reader.next(end))
      if (key === REPOSITORY_NAME) repository = reader.text();
      else if (key === MODEL_NAME) model = reader.text();
      // Checked one by one, as they come: a message may hold very many.
      else if (key === PARAMETERS)
        checkRepositoryParameters(Object.fromEntries([reader.entry(readValue)]), request);
      else reader.pass(key);
  });
  checkRepository(repository);
  return { model: readName(model, "model_name") };
}

function readValue(reader: MessageReader, end: number): unknown {
  let value: unknown;
  for (let key = reader.next(end); key !== END; key = reader.next(end))
    if (key === BOOL_PARAM) value = reader.bool();
    else if (key === INT64_PARAM) value = reader.int64();
    else if (key === STRING_PARAM) value = reader.text();
    else if (key === BYTES_PARAM) value = `${reader.bytes().length} bytes`;
    else reader.pass(key);
  return value;
}

function checkRepository(name: string): void {
  if (name !== "")
    throw new InvalidInputError({
      field: "repository_name",
      received: JSON.stringify(name),
      expected: "nothing: there is one repository",
    });
}

/** `RepositoryIndexResponse`. */
export function printIndex(models: readonly IndexEntry[]): Buffer {
  const entry = {
    name: [1, "string"],
    version: [2, "string"],
    state: [3, "string"],
    reason: [4, "string"],
  } as const;
  return printMessage({ models }, { models: [1, entry] });
}

/** A message without fields: `RepositoryModelLoadResponse` and `RepositoryModelUnloadResponse`. */
export const EMPTY_MESSAGE: Buffer = Buffer.alloc(0);
