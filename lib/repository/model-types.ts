/**
 * What a model takes and gives, read from its file before the runtime sees it: values that cannot be served are
 * refused with the way out, where the runtime would only name a number. Refused: sequences, maps and optionals;
 * element types without an array (BF16, 8-bit floats, 4-bit integers, complex numbers); inputs without a rank.
 */

import { TensorProto_DataType as ElementType, type ModelProto, type TypeProto } from "onnx-buf";
import { InvalidModelError } from "../errors.ts";

const SERVED: ReadonlySet<ElementType> = new Set([
  ElementType.FLOAT,
  ElementType.UINT8,
  ElementType.INT8,
  ElementType.UINT16,
  ElementType.INT16,
  ElementType.INT32,
  ElementType.INT64,
  ElementType.STRING,
  ElementType.BOOL,
  ElementType.FLOAT16,
  ElementType.DOUBLE,
  ElementType.UINT32,
  ElementType.UINT64,
]);

const ADVICE = {
  map: "of a scikit-learn classifier, export it with options={'zipmap': False}: its probabilities are a tensor then",
  sequence: "return a tensor, as ConcatFromSequence gives it",
  optional: "take and return the tensor itself",
  sparse: "take and return a dense tensor",
};

/** @throws {InvalidModelError} naming the input or output */
export function checkTypes({ graph }: ModelProto): void {
  if (!graph) throw new InvalidModelError("file", "the model has no graph");
  const constants = new Set(graph.initializer.map(({ name }) => name));
  // Inputs that have a value in the file keep it; requests do not name them.
  for (const { name, type } of graph.input)
    if (!constants.has(name)) {
      checkType(`input "${name}"`, type);
      if (type?.value.case === "tensorType" && !type.value.value.shape)
        throw new InvalidModelError(`input "${name}"`, "its rank is not stated; export it with a shape");
    }
  for (const { name, type } of graph.output) checkType(`output "${name}"`, type);
}

function checkType(where: string, type: TypeProto | undefined): void {
  // An output may leave its type to be inferred.
  if (type?.value.case === undefined) return;
  if (type.value.case !== "tensorType")
    throw new InvalidModelError(where, `it is ${describe(type)}, not a tensor; ${adviceFor(type)}`);
  const { elemType } = type.value.value;
  if (!SERVED.has(elemType))
    throw new InvalidModelError(
      where,
      `element type ${ElementType[elemType] ?? elemType} has no array in JavaScript; cast to FLOAT or FLOAT16 inside the graph`,
    );
}

function adviceFor({ value }: TypeProto): string {
  if (value.case === "mapType") return ADVICE.map;
  if (value.case === "sequenceType")
    return value.value.elemType?.value.case === "mapType" ? ADVICE.map : ADVICE.sequence;
  return value.case === "optionalType" ? ADVICE.optional : ADVICE.sparse;
}

function describe(type: TypeProto | undefined): string {
  const value = type?.value;
  switch (value?.case) {
    case "sequenceType":
      return `sequence(${describe(value.value.elemType)})`;
    case "mapType":
      return `map(${ElementType[value.value.keyType]?.toLowerCase()}, ${describe(value.value.valueType)})`;
    case "optionalType":
      return `optional(${describe(value.value.elemType)})`;
    case "tensorType":
      return `tensor(${ElementType[value.value.elemType]?.toLowerCase()})`;
    default:
      return value?.case ?? "of no type";
  }
}
