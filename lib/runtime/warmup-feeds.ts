/**
 * Warm-up requests as tensors: what a model's configuration says of its inputs, checked against the signature of the
 * version that is being loaded. Random values come from a fixed seed: real numbers in [0, 1), whole ones and booleans
 * 0 or 1, strings of hexadecimal digits.
 */

import type { WarmupRequest } from "../protocol/model-configuration.ts";
import type { ModelSignature } from "../protocol/models.ts";
import { RandomStream } from "../random/stream.ts";
import { allocate, type Datatype, type TensorData } from "../tensor/datatype.ts";
import { assertMatches, elementCount, type Tensor, type TensorSpec } from "../tensor/tensor.ts";
import { ConfigurationRefused } from "./inference-messages.ts";

type Given = NonNullable<WarmupRequest["inputs"]>[string];

/**
 * The request's inputs, in the signature's order; free dimensions beyond the first have size 1 where no shape is given.
 * @throws {ConfigurationRefused} {InvalidInputError} when the request does not fit the signature
 */
export function warmupFeeds({ rows = 1, inputs = {} }: WarmupRequest, signature: ModelSignature): Tensor[] {
  const names = signature.inputs.map(({ name }) => name);
  for (const name of Object.keys(inputs))
    if (!names.includes(name))
      throw new ConfigurationRefused(`the model has no input "${name}", but ${names.join(", ")}`);
  const random = RandomStream.named(0, "warm-up");
  return signature.inputs.map((spec) => feedOf(spec, inputs[spec.name] ?? { values: "zeros" }, rows, random));
}

function feedOf(
  spec: TensorSpec,
  { shape: given, values }: Given,
  rows: number,
  random: RandomStream,
): Tensor {
  const { name, datatype } = spec;
  const shape = given ?? spec.shape.map((size, axis) => (size !== -1 ? size : axis === 0 ? rows : 1));
  const data = allocate(datatype, elementCount(shape));
  const tensor = { name, datatype, shape, data };
  assertMatches(tensor, spec);
  if (values === "random") fill(data, () => drawn(datatype, random));
  else if (Array.isArray(values)) {
    if (values.length !== data.length)
      throw new ConfigurationRefused(
        `input "${name}" has ${values.length} values for ${data.length} elements of shape [${shape.join(", ")}]`,
      );
    fill(data, (i) => held(datatype, values[i]!, `input "${name}"`));
  }
  return tensor;
}

type Value = number | bigint | string;

function fill(data: TensorData, value: (index: number) => Value): void {
  for (let i = 0; i < data.length; i++) (data as Value[])[i] = value(i);
}

function drawn(datatype: Datatype, random: RandomStream): Value {
  switch (datatype) {
    case "BYTES":
      return random.uint32().toString(16);
    case "FP32":
    case "FP64":
      return random.uniform();
    case "FP16":
      // Positive half precision numbers are in the order of their raw bits.
      return random.below(HALF_ONE);
    case "INT64":
    case "UINT64":
      return BigInt(random.below(2));
    default:
      return random.below(2);
  }
}

/** 1 in half precision. */
const HALF_ONE = 0x3c00;

/** A listed value as the datatype's array holds it. @throws {ConfigurationRefused} when it does not */
function held(datatype: Datatype, value: number | boolean | string, where: string): Value {
  const refused = () =>
    new ConfigurationRefused(`${where} is of ${datatype}, which does not hold ${JSON.stringify(value)}`);
  if (datatype === "FP16" || datatype === "BF16")
    throw new ConfigurationRefused(
      `${where} is of ${datatype}, whose values are not listed: zeros or random`,
    );
  if (datatype === "BYTES") {
    if (typeof value === "string" && !value.includes("\0")) return value;
    throw refused();
  }
  if (datatype === "BOOL" && typeof value === "boolean") return Number(value);
  if (typeof value !== "number" || (datatype === "BOOL" && value !== 0 && value !== 1)) throw refused();
  if (datatype === "INT64" || datatype === "UINT64") {
    if (!Number.isSafeInteger(value) || (datatype === "UINT64" && value < 0)) throw refused();
    return BigInt(value);
  }
  const [kept] = Object.assign(allocate(datatype, 1) as Float64Array, [value]);
  const holds = datatype === "FP32" ? Number.isFinite(kept) : kept === value;
  if (!holds) throw refused();
  return value;
}
