/**
 * The ONNX file format: graphs to protocol buffer bytes and back (onnx.proto3, IR version 9, by protobuf-es).
 *
 * Tensors are written as raw little-endian data and read in any of the format's encodings. Refused with
 * `InvalidModelError`: bytes that are no ONNX model, element types Moiety has no array for, sparse tensors,
 * and tensors whose data lives in another file.
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import { errorMessage, InvalidModelError } from "../errors.ts";
import {
  allocate,
  type Datatype,
  elementBytes,
  type NumericArray,
  type TensorData,
} from "../tensor/datatype.ts";
import {
  type Attribute,
  Float,
  float,
  type Graph,
  isGraph,
  type Model,
  type Node,
  type TensorLiteral,
  type ValueInfo,
} from "./graph.ts";

const IR_VERSION = 9n;

/** ONNX's TensorProto.DataType numbers, by our datatype names. */
export const ONNX_TYPE = {
  FP32: 1,
  UINT8: 2,
  INT8: 3,
  UINT16: 4,
  INT16: 5,
  INT32: 6,
  INT64: 7,
  BYTES: 8,
  BOOL: 9,
  FP16: 10,
  FP64: 11,
  UINT32: 12,
  UINT64: 13,
  BF16: 16,
} as const satisfies Record<Datatype, number>;

const DATATYPE_OF = new Map<number, Datatype>(
  (Object.entries(ONNX_TYPE) as [Datatype, number][]).map(([datatype, code]) => [code, datatype]),
);

function datatypeOf(code: number, where: string): Datatype {
  const datatype = DATATYPE_OF.get(code);
  if (!datatype) throw new InvalidModelError(where, `ONNX element type ${code} is not supported`);
  return datatype;
}

const text = new TextEncoder();
const utf8 = new TextDecoder();
const encode = (value: string) => text.encode(value) as Uint8Array<ArrayBuffer>;

// ---------------------------------------------------------------- writing

export function writeModel(model: Model): Uint8Array {
  const message = create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    producerName: model.producer,
    opsetImport: Object.entries(model.opsets).map(([domain, version]) =>
      create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) }),
    ),
    metadataProps: Object.entries(model.metadata).map(([key, value]) =>
      create(StringStringEntryProtoSchema, { key, value }),
    ),
    graph: graphMessage(model.graph),
  });
  return toBinary(ModelProtoSchema, message);
}

function graphMessage(graph: Graph): GraphProto {
  return create(GraphProtoSchema, {
    name: graph.name,
    input: graph.inputs.map(valueInfoMessage),
    output: graph.outputs.map(valueInfoMessage),
    initializer: [...graph.initializers].map(([name, literal]) => tensorMessage(name, literal)),
    node: graph.nodes.map((node) =>
      create(NodeProtoSchema, {
        name: node.name,
        opType: node.op,
        domain: node.domain,
        input: node.inputs,
        output: node.outputs,
        attribute: Object.entries(node.attributes).map(([name, value]) => attributeMessage(name, value)),
      }),
    ),
  });
}

function valueInfoMessage(value: ValueInfo): ValueInfoProto {
  const dims = value.shape.map((dim) =>
    create(TensorShapeProto_DimensionSchema, {
      value:
        typeof dim === "number" ? { case: "dimValue", value: BigInt(dim) } : { case: "dimParam", value: dim },
    }),
  );
  const tensorType = create(TypeProto_TensorSchema, {
    elemType: ONNX_TYPE[value.datatype],
    shape: create(TensorShapeProtoSchema, { dim: dims }),
  });
  return create(ValueInfoProtoSchema, {
    name: value.name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value: tensorType } }),
  });
}

function tensorMessage(name: string, literal: TensorLiteral): TensorProto {
  const { datatype, data } = literal;
  return create(TensorProtoSchema, {
    name,
    dataType: ONNX_TYPE[datatype],
    dims: literal.shape.map(BigInt),
    ...(Array.isArray(data)
      ? { stringData: data.map(encode) }
      : { rawData: new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength) }),
  });
}

function attributeMessage(name: string, value: Attribute): AttributeProto {
  const of = (fields: Partial<AttributeProto>) => create(AttributeProtoSchema, { name, ...fields } as object);
  if (typeof value === "number") return of({ type: AttributeType.INT, i: BigInt(value) });
  if (typeof value === "string") return of({ type: AttributeType.STRING, s: encode(value) });
  if (value instanceof Float) return of({ type: AttributeType.FLOAT, f: value.value });
  if (value instanceof Float32Array) return of({ type: AttributeType.FLOATS, floats: [...value] });
  if (Array.isArray(value))
    return typeof value[0] === "string"
      ? of({ type: AttributeType.STRINGS, strings: (value as string[]).map(encode) })
      : of({ type: AttributeType.INTS, ints: (value as number[]).map(BigInt) });
  if (isGraph(value)) return of({ type: AttributeType.GRAPH, g: graphMessage(value) });
  return of({ type: AttributeType.TENSOR, t: tensorMessage("", value) });
}

// ---------------------------------------------------------------- reading

/** @throws {InvalidModelError} */
export function readModel(bytes: Uint8Array): Model {
  let message: ReturnType<typeof fromBinary<typeof ModelProtoSchema>>;
  try {
    message = fromBinary(ModelProtoSchema, bytes);
  } catch (error) {
    throw new InvalidModelError("file", `not an ONNX protocol buffer (${errorMessage(error)})`);
  }
  if (!message.graph) throw new InvalidModelError("file", "the model has no graph");
  if (message.opsetImport.length === 0)
    throw new InvalidModelError("file", "the model names no operator set: it may be cut short");
  if (message.functions.length > 0)
    throw new InvalidModelError("file", "models with local functions are not supported");
  return {
    producer: message.producerName,
    opsets: Object.fromEntries(message.opsetImport.map((o) => [o.domain, Number(o.version)])),
    metadata: Object.fromEntries(message.metadataProps.map((p) => [p.key, p.value])),
    graph: graphOf(message.graph),
  };
}

function graphOf(message: GraphProto): Graph {
  if (message.sparseInitializer.length > 0)
    throw new InvalidModelError(`graph '${message.name}'`, "sparse tensors are not supported");
  return {
    name: message.name,
    inputs: message.input.map(valueInfoOf),
    outputs: message.output.map(valueInfoOf),
    initializers: new Map(message.initializer.map((t) => [t.name, literalFrom(t)])),
    nodes: message.node.map(
      (node): Node => ({
        name: node.name,
        op: node.opType,
        domain: node.domain,
        inputs: node.input,
        outputs: node.output,
        attributes: Object.fromEntries(node.attribute.map((a) => [a.name, attributeOf(a, node.name)])),
      }),
    ),
  };
}

function valueInfoOf(message: ValueInfoProto): ValueInfo {
  const where = `value '${message.name}'`;
  const type = message.type?.value;
  if (type?.case !== "tensorType")
    throw new InvalidModelError(where, `only tensors are supported, not ${type?.case ?? "an untyped value"}`);
  return {
    name: message.name,
    datatype: datatypeOf(type.value.elemType, where),
    shape: (type.value.shape?.dim ?? []).map((dim, axis) =>
      dim.value.case === "dimValue"
        ? Number(dim.value.value)
        : dim.value.value || `${message.name}_dim${axis}`,
    ),
  };
}

function literalFrom(message: TensorProto): TensorLiteral {
  const where = `tensor '${message.name}'`;
  if (message.dataLocation === TensorProto_DataLocation.EXTERNAL)
    throw new InvalidModelError(where, "its data lives in another file");
  const datatype = datatypeOf(message.dataType, where);
  const shape = message.dims.map(Number);
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0))
    throw new InvalidModelError(where, `has the impossible shape [${shape.join(",")}]`);
  const length = shape.reduce((product, size) => product * size, 1);
  const data = dataFrom(message, datatype, length);
  if (data.length !== length)
    throw new InvalidModelError(where, `holds ${data.length} elements, its shape needs ${length}`);
  return { datatype, shape, data };
}

function dataFrom(message: TensorProto, datatype: Datatype, length: number): TensorData {
  if (datatype === "BYTES") return message.stringData.map((bytes) => utf8.decode(bytes));
  if (message.rawData.byteLength > 0) {
    if (message.rawData.byteLength !== length * elementBytes(datatype))
      throw new InvalidModelError(
        `tensor '${message.name}'`,
        `holds ${message.rawData.byteLength} bytes, its shape needs ${length * elementBytes(datatype)}`,
      );
    const data = allocate(datatype, length) as NumericArray;
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength).set(message.rawData);
    return data;
  }
  const typed =
    datatype === "FP32"
      ? message.floatData
      : datatype === "FP64"
        ? message.doubleData
        : datatype === "INT64"
          ? message.int64Data
          : datatype === "UINT32" || datatype === "UINT64"
            ? message.uint64Data
            : message.int32Data;
  const data = allocate(datatype, typed.length) as NumericArray;
  for (let i = 0; i < typed.length; i++) {
    const value = typed[i] as number | bigint;
    data[i] = data instanceof BigInt64Array || data instanceof BigUint64Array ? BigInt(value) : Number(value);
  }
  return data;
}

function attributeOf(message: AttributeProto, node: string): Attribute {
  switch (message.type) {
    case AttributeType.INT:
      return Number(message.i);
    case AttributeType.FLOAT:
      return float(message.f);
    case AttributeType.STRING:
      return utf8.decode(message.s);
    case AttributeType.INTS:
      return message.ints.map(Number);
    case AttributeType.FLOATS:
      return Float32Array.from(message.floats);
    case AttributeType.STRINGS:
      return message.strings.map((bytes) => utf8.decode(bytes));
    case AttributeType.TENSOR:
      if (message.t) return literalFrom(message.t);
      throw new InvalidModelError(`node '${node}'`, `attribute '${message.name}' holds no tensor`);
    case AttributeType.GRAPH:
      if (message.g) return graphOf(message.g);
      throw new InvalidModelError(`node '${node}'`, `attribute '${message.name}' holds no graph`);
    default:
      throw new InvalidModelError(
        `node '${node}'`,
        `attribute '${message.name}' has unsupported type ${message.type}`,
      );
  }
}
