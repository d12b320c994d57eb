/**
 * Values as the JSON that TensorFlow Serving writes: floats always with a point or an exponent, so that lists never mix
 * whole numbers and others; NaN, Infinity and -Infinity as such; integers in digits; the strings of a tensor whose name
 * ends in `_bytes` as `{"b64": …}`.
 */

import { InvalidInputError } from "../errors.ts";
import { type FloatStyle, printFloat32 as printFloats, shortFloat32 } from "../oip/number-text.ts";
import type { Datatype, NumericArray } from "../tensor/datatype.ts";
import type { Tensor } from "../tensor/tensor.ts";

const BYTES_SUFFIX = "_bytes";

/** Six digits where they say it all, as most numbers that people type do; else as few as do. */
export function printFloat32(value: number): string {
  const rounded = sixDigits(value);
  return printFloat64(Math.fround(rounded) === value ? rounded : shortFloat32(value));
}

const FLOAT_STYLE: FloatStyle = { digits: 6, whole: ".0", other: printFloat32 };

/** Rounded to six significant digits; NaN where powers of ten are not exact. */
function sixDigits(value: number): number {
  const magnitude = Math.abs(value);
  if (!(magnitude >= 1e-14 && magnitude < 1e6)) return Number.NaN;
  const scale = 10 ** (5 - Math.floor(Math.log10(magnitude)));
  return Math.round(value * scale) / scale;
}

export function printFloat64(value: number): string {
  if (Number.isInteger(value)) {
    const text = Object.is(value, -0) ? "-0" : String(value);
    return text.includes("e") ? text : `${text}.0`;
  }
  return String(value);
}

/**
 * Prints a tensor's elements in order, nested as its axes from `axis` on say.
 * @throws {InvalidInputError} for a datatype without a JSON form
 */
export class TensorPrinter {
  readonly #shape: readonly number[];
  readonly #axis: number;
  /** Of a tensor whose lists of elements are printed as one. */
  readonly #floats: Float32Array | undefined;
  readonly #element: (index: number) => string;
  #next = 0;

  constructor(tensor: Tensor, axis: number) {
    this.#shape = tensor.shape;
    this.#axis = axis;
    this.#element = elementPrinter(tensor);
    if (tensor.datatype === "FP32") this.#floats = tensor.data as Float32Array;
  }

  /** The next element at `axis`: a value, or a list of what lies behind that axis. */
  next(): string {
    return this.#print(this.#axis);
  }

  #print(axis: number): string {
    if (axis >= this.#shape.length) return this.#element(this.#next++);
    const size = this.#shape[axis]!;
    if (this.#floats && axis + 1 === this.#shape.length) {
      const start = this.#next;
      this.#next += size;
      return printFloats(this.#floats, start, this.#next, FLOAT_STYLE);
    }
    let text = "[";
    for (let i = 0; i < size; i++) text += i === 0 ? this.#print(axis + 1) : `,${this.#print(axis + 1)}`;
    return `${text}]`;
  }
}

function elementPrinter({ name, datatype, data }: Tensor): (index: number) => string {
  const print = printerOf(datatype, name);
  return (index) => print((data as NumericArray)[index] as never);
}

function printerOf(datatype: Datatype, name: string): (value: never) => string {
  switch (datatype) {
    case "FP32":
      return printFloat32;
    case "FP64":
      return printFloat64;
    case "BOOL":
      return (value: number) => (value === 0 ? "false" : "true");
    case "BYTES":
      return name.endsWith(BYTES_SUFFIX)
        ? (value: string) => `{"b64":"${Buffer.from(value).toString("base64")}"}`
        : (value: string) => JSON.stringify(value);
    case "FP16":
    case "BF16":
      throw new InvalidInputError({
        field: `output '${name}'`,
        received: `${datatype}, which has no JSON form`,
        expected: "a model with other outputs, or binary data by the Open Inference Protocol",
      });
    default:
      return String;
  }
}
