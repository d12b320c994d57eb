/**
 * `ModelInferRequest` off the wire, as it stands there: nothing is checked against anything yet (infer-request.ts does).
 * Data are views of the message; typed contents stay bytes until the datatype of their input is known.
 *
 * Bounded: messages of a few bytes per element could make millions of objects, so repeated fields have a limit.
 */

import { InvalidInputError } from "../../errors.ts";
import type { Parameters } from "../request-fields.ts";
import { END, fixed64, lengthDelimited, type MessageReader, readMessage, varint } from "./message-reader.ts";

export type InputMessage = {
  name: string;
  datatype: string;
  shape: number[];
  parameters: Parameters;
  /** An InferTensorContents; undefined when there is none. */
  contents: Uint8Array | undefined;
};

export type OutputMessage = { name: string; parameters: Parameters };

export type InferMessage = {
  model: string;
  version: string;
  id: string;
  parameters: Parameters;
  inputs: InputMessage[];
  outputs: OutputMessage[];
  /** `raw_input_contents`. */
  raw: Uint8Array[];
};

/** No model has as many inputs or outputs, no request as many parameters. */
const MAX_REPEATED = 4096;
/** One more than a shape may have, so that longer ones are seen to be too long. */
const MAX_DIMENSIONS = 33;
/** Shared by all that have none; nothing writes to it. */
const NO_PARAMETERS: Parameters = Object.freeze({});

const MODEL_NAME = lengthDelimited(1);
const MODEL_VERSION = lengthDelimited(2);
const ID = lengthDelimited(3);
const PARAMETERS = lengthDelimited(4);
const INPUTS = lengthDelimited(5);
const OUTPUTS = lengthDelimited(6);
const RAW_INPUT_CONTENTS = lengthDelimited(7);

const NAME = lengthDelimited(1);
const DATATYPE = lengthDelimited(2);
const SHAPE = varint(3);
const PACKED_SHAPE = lengthDelimited(3);
const CONTENTS = lengthDelimited(5);
const OUTPUT_PARAMETERS = lengthDelimited(2);

const BOOL_PARAM = varint(1);
const INT64_PARAM = varint(2);
const STRING_PARAM = lengthDelimited(3);
const DOUBLE_PARAM = fixed64(4);
const UINT64_PARAM = varint(5);

/** @throws {MalformedBodyError} {InvalidInputError} for more than fits the limits */
export function readInferMessage(bytes: Uint8Array): InferMessage {
  return readMessage(bytes, "ModelInferRequest", (reader, end) => {
    const message: InferMessage = {
      model: "",
      version: "",
      id: "",
      parameters: NO_PARAMETERS,
      inputs: [],
      outputs: [],
      raw: [],
    };
    for (let key = reader.next(end); key !== END; key = reader.next(end))
      switch (key) {
        case MODEL_NAME:
          message.model = reader.text();
          break;
        case MODEL_VERSION:
          message.version = reader.text();
          break;
        case ID:
          message.id = reader.text();
          break;
        case PARAMETERS:
          message.parameters = withParameter(message.parameters, reader);
          break;
        case INPUTS:
          append(message.inputs, readInput(reader, reader.end()), "inputs");
          break;
        case OUTPUTS:
          append(message.outputs, readOutput(reader, reader.end()), "outputs");
          break;
        case RAW_INPUT_CONTENTS:
          append(message.raw, reader.bytes(), "raw_input_contents");
          break;
        default:
          reader.pass(key);
      }
    return message;
  });
}

function readInput(reader: MessageReader, end: number): InputMessage {
  const input: InputMessage = {
    name: "",
    datatype: "",
    shape: [],
    parameters: NO_PARAMETERS,
    contents: undefined,
  };
  for (let key = reader.next(end); key !== END; key = reader.next(end))
    switch (key) {
      case NAME:
        input.name = reader.text();
        break;
      case DATATYPE:
        input.datatype = reader.text();
        break;
      case SHAPE:
        appendSize(input.shape, reader);
        break;
      case PACKED_SHAPE:
        for (const packedEnd = reader.end(); reader.pos < packedEnd; ) appendSize(input.shape, reader);
        break;
      case PARAMETERS:
        input.parameters = withParameter(input.parameters, reader);
        break;
      case CONTENTS:
        input.contents = merged(input.contents, reader.bytes());
        break;
      default:
        reader.pass(key);
    }
  return input;
}

function readOutput(reader: MessageReader, end: number): OutputMessage {
  const output: OutputMessage = { name: "", parameters: NO_PARAMETERS };
  for (let key = reader.next(end); key !== END; key = reader.next(end))
    switch (key) {
      case NAME:
        output.name = reader.text();
        break;
      case OUTPUT_PARAMETERS:
        output.parameters = withParameter(output.parameters, reader);
        break;
      default:
        reader.pass(key);
    }
  return output;
}

/** The parameters with the map entry that is read next; the last of one name counts. */
function withParameter(parameters: Parameters, reader: MessageReader): Parameters {
  const [name, value] = reader.entry(readParameter);
  const known = parameters === NO_PARAMETERS ? {} : parameters;
  if (value !== undefined) known[name] = value;
  return known;
}

/** Undefined for a parameter without a value. */
function readParameter(reader: MessageReader, end: number): Parameters[string] | undefined {
  let value: Parameters[string] | undefined;
  for (let key = reader.next(end); key !== END; key = reader.next(end))
    switch (key) {
      case BOOL_PARAM:
        value = reader.bool();
        break;
      case INT64_PARAM:
        value = reader.whole(true);
        break;
      case STRING_PARAM:
        value = reader.text();
        break;
      case DOUBLE_PARAM:
        value = reader.double();
        break;
      case UINT64_PARAM:
        value = reader.whole(false);
        break;
      default:
        reader.pass(key);
    }
  return value;
}

function append<T>(items: T[], item: T, field: string): void {
  if (items.length === MAX_REPEATED)
    throw new InvalidInputError({
      field,
      received: `more than ${MAX_REPEATED}`,
      expected: `at most ${MAX_REPEATED}`,
    });
  items.push(item);
}

function appendSize(shape: number[], reader: MessageReader): void {
  const size = reader.whole(true);
  if (shape.length < MAX_DIMENSIONS) shape.push(size);
}

/** A message that comes in parts is the parts one after another. */
function merged(before: Uint8Array | undefined, part: Uint8Array): Uint8Array {
  return before === undefined ? part : Buffer.concat([before, part]);
}
