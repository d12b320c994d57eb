import { randomStream } from "../../test/fixtures/onnx-models.ts";
import { InvalidInputError } from "../errors.ts";
import { readConfigText } from "./config-text.ts";

const read = (text: string) => readConfigText(text, "config.pbtxt");

describe("a config.pbtxt", () => {
  test("is read as Triton's guide writes its examples", () => {
    expect(
      read(`
  platform: "onnxruntime_onnx"
  max_batch_size: 8
  input [
    {
      name: "input0"
      data_type: TYPE_FP32
      dims: [ 16 ]
    },
    {
      name: "input1"
      data_type: TYPE_FP32
      dims: [ 16 ]
    }
  ]
  output [
    {
      name: "output0"
      data_type: TYPE_FP32
      dims: [ 16 ]
    }
  ]
  version_policy: { specific { versions: [1,3]}}
  instance_group [
    {
      count: 1
      kind: KIND_GPU
      gpus: [ 0 ]
    },
    {
      count: 2
      kind: KIND_GPU
      gpus: [ 1, 2 ]
    }
  ]
  dynamic_batching {
    preferred_batch_size: [ 4, 8 ]
    max_queue_delay_microseconds: 100
  }
  optimization { execution_accelerators {
    gpu_execution_accelerator : [ {
      name : "tensorrt"
      parameters { key: "precision_mode" value: "FP16" }
      parameters { key: "max_workspace_size_bytes" value: "1073741824" }}]
  }}
  parameters { key: "intra_op_thread_count" value: { string_value: "4" } }
  `),
    ).toEqual({
      platform: "onnxruntime_onnx",
      max_batch_size: 8,
      input: [
        { name: "input0", data_type: "TYPE_FP32", dims: ["16"] },
        { name: "input1", data_type: "TYPE_FP32", dims: ["16"] },
      ],
      output: [{ name: "output0", data_type: "TYPE_FP32", dims: ["16"] }],
      version_policy: { specific: { versions: ["1", "3"] } },
      instance_group: [
        { count: 1, kind: "KIND_GPU", gpus: [0] },
        { count: 2, kind: "KIND_GPU", gpus: [1, 2] },
      ],
      dynamic_batching: { preferred_batch_size: [4, 8], max_queue_delay_microseconds: "100" },
      optimization: {
        execution_accelerators: {
          gpu_execution_accelerator: [
            {
              name: "tensorrt",
              parameters: { precision_mode: "FP16", max_workspace_size_bytes: "1073741824" },
            },
          ],
        },
      },
      parameters: { intra_op_thread_count: { string_value: "4" } },
    });
  });

  test("may use all of the text format", () => {
    const text = `
      # A comment; literals beside one another are one.
      name: 'a' "b\\n\\x41\\101\\u00e9"; max_batch_size: 0x10,
      input < name: "x" dims: -1 dims: [0x2, 010] >
      output: [<name: "y">, {name: "z"}]
      response_cache { enable: true } model_transaction_policy { decoupled: f }`;
    expect(read(text)).toEqual({
      name: "ab\nAAé",
      max_batch_size: 16,
      input: [{ name: "x", dims: ["-1", "2", "8"] }],
      output: [{ name: "y" }, { name: "z" }],
      response_cache: { enable: true },
      model_transaction_policy: {},
    });
  });

  test("tells a batch size of 0 from none", () => {
    expect(read("max_batch_size: 0")).toEqual({ max_batch_size: 0 });
    expect(read("")).toEqual({});
  });

  test.each([
    ["max_batch: 3", 'unknown field "max_batch"'],
    ["max_batch_size: 3 max_batch_size: 4", "repeated"],
    ["max_batch_size: 99999999999", "out of range"],
    ['max_batch_size: "3"', "expected"],
    ["input { data_type: TYPE_FLOAT }", "TYPE_FLOAT"],
    ["input {", "unexpected end of input"],
    ['name: "a', "string"],
    ["\u0000", "U+0000"],
    [`${"input { ".repeat(5000)}`, "input"],
  ])("is refused, saying why: %j", (text, reason) => {
    const act = () => read(text);
    expect(act).toThrow(InvalidInputError);
    expect(act).toThrow(reason);
  });

  test("of any bytes is read or refused, and takes no longer than it should", () => {
    const next = randomStream(7);
    const words = [
      "input",
      "{",
      "}",
      "[",
      "]",
      "<",
      ">",
      ":",
      ",",
      "name",
      '"x"',
      "'",
      "-1",
      "0x",
      "dims",
      "#",
      "\n",
    ];
    const startedAt = performance.now();
    for (let run = 0; run < 3000; run++) {
      const text = Array.from({ length: Math.floor(next() * 30) }, () =>
        next() < 0.9 ? words[Math.floor(next() * words.length)]! : String.fromCharCode(next() * 0x300),
      ).join(next() < 0.5 ? " " : "");
      try {
        read(text);
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidInputError);
      }
    }
    expect(performance.now() - startedAt).toBeLessThan(30_000);
  });
});
