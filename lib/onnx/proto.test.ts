/** The file format: what is written is read back equal, loads in ONNX Runtime, and damaged bytes are refused. */

import { create, toBinary } from "@bufbuild/protobuf";
import {
  AttributeProto_AttributeType,
  ModelProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
} from "onnx-buf";
import { InferenceSession } from "onnxruntime-node";
import { LoadedGraph } from "../../test/support/graph-runner.ts";
import { InvalidModelError } from "../errors.ts";
import { RandomStream } from "../random/stream.ts";
import { allocate, DATATYPES, type Datatype, type TensorData } from "../tensor/datatype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { GraphBuilder } from "./builder.ts";
import { type Attribute, float, type Graph, type Model, OPSET, type TensorLiteral } from "./graph.ts";
import { ONNX_TYPE, readModel, writeModel } from "./proto.ts";

const random = RandomStream.named(3, "proto");
const draw = (bound: number) => random.below(bound);
const word = () => ["", "x", "größe", "conv2d/kernel", "名前", "a b"][draw(6)]! + draw(100);

/** Any bit pattern is a legal element, except of BOOL. */
function literal(datatype: Datatype, shape: number[]): TensorLiteral {
  const data = allocate(datatype, elementCount(shape)) as TensorData;
  if (Array.isArray(data)) return { datatype, shape, data: data.map(word) };
  if (datatype === "BOOL")
    return { datatype, shape, data: Uint8Array.from(data as Uint8Array, () => draw(2)) };
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let i = 0; i < bytes.length; i++) bytes[i] = draw(256);
  return { datatype, shape, data };
}

const shape = () => Array.from({ length: draw(4) }, () => draw(4));
const anyDatatype = () => DATATYPES[draw(DATATYPES.length)]!;

function attribute(depth: number): Attribute {
  switch (draw(depth > 0 ? 8 : 7)) {
    case 0:
      return draw(2 ** 31) * (draw(2) ? 1 : -1) * (draw(2) ? 1 : 2 ** 20);
    case 1:
      return float(Math.fround(random.normal() * 10 ** (draw(20) - 10)));
    case 2:
      return word();
    case 3:
      return Array.from({ length: draw(5) }, () => draw(1000) - 500);
    case 4:
      return Float32Array.from({ length: draw(5) }, () => random.normal());
    case 5:
      return Array.from({ length: 1 + draw(3) }, word);
    case 6:
      return literal(anyDatatype(), shape());
    default:
      return graph(depth - 1);
  }
}

function graph(depth: number): Graph {
  const info = () => ({
    name: word(),
    datatype: anyDatatype(),
    shape: Array.from({ length: draw(4) }, () => (draw(3) === 0 ? `size${draw(3)}` : draw(5))),
  });
  return {
    name: word(),
    inputs: Array.from({ length: draw(3) }, info),
    outputs: Array.from({ length: draw(3) }, info),
    initializers: new Map(
      Array.from({ length: draw(4) }, (_, i) => [`${word()}#${i}`, literal(anyDatatype(), shape())]),
    ),
    nodes: Array.from({ length: draw(4) }, () => ({
      name: word(),
      op: word(),
      domain: draw(2) ? "" : "com.example",
      inputs: Array.from({ length: draw(3) }, () => (draw(4) ? word() : "")),
      outputs: Array.from({ length: 1 + draw(2) }, word),
      attributes: Object.fromEntries(Array.from({ length: draw(4) }, (_, i) => [`a${i}`, attribute(depth)])),
    })),
  };
}

const model = (): Model => ({
  graph: graph(2),
  opsets: draw(2) ? { "": OPSET } : { "": OPSET, "com.example": 1 + draw(5) },
  producer: word(),
  metadata: draw(2) ? {} : { [word()]: word(), architecture: '{"a": "ü"}' },
});

/** A small real graph: Conv, Relu, Reshape, Gemm. */
function network(): Model {
  const g = new GraphBuilder("network");
  const x = g.input("x", "FP32", ["batch", 1, 4, 4]);
  const w = g.initializer("w", literal("INT8", [2, 1, 3, 3]));
  const kernel = g.op("Cast", [w], { to: ONNX_TYPE.FP32 });
  const y = g.op("Relu", [g.op("Conv", [x, kernel], { kernel_shape: [3, 3] })]);
  const flat = g.op("Reshape", [y, g.ints([-1, 8])]);
  const dense = g.initializer("dense", {
    datatype: "FP32",
    shape: [8, 2],
    data: new Float32Array(16).fill(0.5),
  });
  g.output(g.op("Gemm", [flat, dense], { alpha: float(2) }), "y");
  return { graph: g.build(), opsets: { "": OPSET }, producer: "test", metadata: { note: "n" } };
}

describe("the ONNX file format", () => {
  test("reads back equal what it wrote, for any graph", () => {
    for (let i = 0; i < 200; i++) {
      const written = model();
      expect(readModel(writeModel(written))).toEqual(written);
    }
  });

  test.each(DATATYPES)("keeps every bit of %s tensors, also those cut from a larger buffer", (datatype) => {
    for (const sizes of [[], [0], [3], [2, 0, 3], [2, 3, 4]]) {
      const g = graph(0);
      const whole = literal(datatype, sizes);
      const data = Array.isArray(whole.data)
        ? whole.data
        : (literal(datatype, [elementCount(sizes) + 5]).data as Uint8Array).subarray(
            2,
            2 + elementCount(sizes),
          );
      const kept = { ...whole, data };
      const written: Model = {
        graph: { ...g, initializers: new Map([["t", kept]]) },
        opsets: { "": 18 },
        producer: "",
        metadata: {},
      };
      expect(readModel(writeModel(written)).graph.initializers.get("t")).toEqual(kept);
    }
  });

  test("reads numbers stored in the format's typed fields", () => {
    const typed: [Datatype, object, TensorData][] = [
      ["FP32", { floatData: [1.5, -2] }, Float32Array.of(1.5, -2)],
      ["FP64", { doubleData: [1e300, -2] }, Float64Array.of(1e300, -2)],
      ["INT64", { int64Data: [-5n, 2n ** 62n] }, BigInt64Array.of(-5n, 2n ** 62n)],
      ["UINT64", { uint64Data: [5n, 2n ** 63n] }, BigUint64Array.of(5n, 2n ** 63n)],
      ["UINT32", { uint64Data: [5n, 4294967295n] }, Uint32Array.of(5, 4294967295)],
      ["INT32", { int32Data: [-5, 7] }, Int32Array.of(-5, 7)],
      ["INT8", { int32Data: [-5, 7] }, Int8Array.of(-5, 7)],
      ["UINT16", { int32Data: [65535, 7] }, Uint16Array.of(65535, 7)],
      ["BOOL", { int32Data: [1, 0] }, Uint8Array.of(1, 0)],
      ["FP16", { int32Data: [0x3c00, 0xfc00] }, Uint16Array.of(0x3c00, 0xfc00)],
    ];
    for (const [datatype, fields, expected] of typed) {
      const bytes = bytesWith({ name: "t", dataType: ONNX_TYPE[datatype], dims: [2n], ...fields });
      expect(readModel(bytes).graph.initializers.get("t")!.data).toEqual(expected);
    }
  });

  test("writes files that ONNX Runtime loads and runs", async () => {
    const loaded = await LoadedGraph.load(readModel(writeModel(network())).graph);
    const found = await loaded.run({ x: { shape: [3, 1, 4, 4], data: new Float32Array(48) } });
    expect(found.y).toEqual({ shape: [3, 2], datatype: "FP32", data: new Float32Array(6) });
    await loaded.release();
  });

  test("writes constants of every type the runtime has, which it gives back unchanged", async () => {
    for (const datatype of DATATYPES.filter((name) => name !== "BF16" && name !== "BYTES")) {
      const g = new GraphBuilder("constant");
      const constant = literal(datatype, [2, 3]);
      g.output(g.op("Identity", [g.initializer("c", constant)]), "y");
      const loaded = await LoadedGraph.load(g.build());
      const { y } = await loaded.run({});
      const bits = (data: TensorData) =>
        Buffer.from(
          (data as Uint8Array).buffer,
          (data as Uint8Array).byteOffset,
          (data as Uint8Array).byteLength,
        );
      expect(y!.datatype).toBe(datatype);
      expect(bits(y!.data).equals(bits(constant.data))).toBe(true);
      await loaded.release();
    }
  });
});

/** A model whose graph has one initializer, given as the message itself. */
function bytesWith(tensor: object): Uint8Array {
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 9n,
      opsetImport: [{ domain: "", version: 18n }],
      graph: { name: "g", initializer: [create(TensorProtoSchema, tensor)] },
    }),
  );
}

describe("damaged and unsupported files", () => {
  test("a file cut anywhere is refused, but for what follows the operator sets", () => {
    const bytes = writeModel(network());
    const whole = readModel(bytes);
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length);
      try {
        // Only metadata comes after the operator sets: the graph itself must be complete.
        expect(readModel(cut).graph).toEqual(whole.graph);
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidModelError);
      }
    }
    expect(() => readModel(bytes.subarray(0, bytes.length / 2))).toThrow("not an ONNX protocol buffer");
  });

  test("a file with changed bytes is read or refused with an error of ours, never another", () => {
    const bytes = writeModel(network());
    for (let i = 0; i < 5000; i++) {
      const damaged = bytes.slice();
      for (let n = 0; n <= draw(3); n++) damaged[draw(damaged.length)] = draw(256);
      try {
        readModel(damaged);
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidModelError);
      }
    }
  });

  test.each([
    ["no bytes", new Uint8Array(0), "the model has no graph"],
    ["text", new TextEncoder().encode("this is no model"), "not an ONNX protocol buffer"],
    ["JSON", new TextEncoder().encode('{"a": 1}'), "Invalid model at file"],
    [
      "a model without operator sets",
      toBinary(ModelProtoSchema, create(ModelProtoSchema, { graph: { name: "g" } })),
      "names no operator set",
    ],
    [
      "data of the wrong length",
      bytesWith({ name: "t", dataType: 1, dims: [2n], rawData: new Uint8Array(4) }),
      "tensor 't': holds 4 bytes, its shape needs 8",
    ],
    [
      "too few elements",
      bytesWith({ name: "t", dataType: 1, dims: [3n], floatData: [1, 2] }),
      "holds 2 elements, its shape needs 3",
    ],
    [
      "a huge shape without data",
      bytesWith({ name: "t", dataType: 1, dims: [2n ** 40n, 2n ** 40n], rawData: new Uint8Array(4) }),
      "its shape needs",
    ],
    [
      "a negative size",
      bytesWith({ name: "t", dataType: 1, dims: [-1n, -1n], floatData: [1] }),
      "impossible shape [-1,-1]",
    ],
    [
      "an unknown element type",
      bytesWith({ name: "t", dataType: 14, dims: [0n] }),
      "ONNX element type 14 is not supported",
    ],
    [
      "external data",
      bytesWith({ name: "t", dataType: 1, dataLocation: TensorProto_DataLocation.EXTERNAL }),
      "lives in another file",
    ],
  ])("%s", (_, bytes, message) => {
    expect(() => readModel(bytes)).toThrow(InvalidModelError);
    expect(() => readModel(bytes)).toThrow(message);
  });

  test("attributes whose content is missing or of an unknown kind", () => {
    const withAttribute = (fields: object) =>
      toBinary(
        ModelProtoSchema,
        create(ModelProtoSchema, {
          opsetImport: [{ domain: "", version: 18n }],
          graph: {
            name: "g",
            node: [{ name: "n", opType: "If", output: ["y"], attribute: [{ name: "a", ...fields }] }],
          },
        }),
      );
    expect(() => readModel(withAttribute({ type: AttributeProto_AttributeType.TENSOR }))).toThrow(
      "holds no tensor",
    );
    expect(() => readModel(withAttribute({ type: AttributeProto_AttributeType.GRAPH }))).toThrow(
      "holds no graph",
    );
    expect(() => readModel(withAttribute({ type: AttributeProto_AttributeType.TYPE_PROTO }))).toThrow(
      "unsupported type",
    );
  });

  test("inputs that are not tensors, sparse tensors and local functions", () => {
    const of = (fields: object) =>
      toBinary(ModelProtoSchema, create(ModelProtoSchema, { opsetImport: [{ version: 18n }], ...fields }));
    expect(() => readModel(of({ graph: { name: "g", input: [{ name: "x" }] } }))).toThrow(
      "only tensors are supported",
    );
    expect(() => readModel(of({ graph: { name: "g", sparseInitializer: [{}] } }))).toThrow("sparse tensors");
    expect(() => readModel(of({ graph: { name: "g" }, functions: [{ name: "f" }] }))).toThrow(
      "local functions",
    );
  });

  test("the runtime, too, refuses the cut file", async () => {
    const bytes = writeModel(network());
    await expect(InferenceSession.create(bytes.slice(0, bytes.length / 2))).rejects.toThrow();
  });
});
