/**
 * How many channels ONNX Runtime keeps together in its blocked layout on this processor (8 with AVX2, 16 with
 * AVX-512): the runtime is asked to block four channels and answers with as many as a block has.
 */

import * as ort from "onnxruntime-node";
import { BLOCKED_DOMAIN, opsetsOf } from "../onnx/channel-blocks.ts";
import type { Graph } from "../onnx/graph.ts";
import { writeModel } from "../onnx/proto.ts";
import { nativeCall } from "../runtime/native-call.ts";

const CHANNELS = 4;

/** Undefined where the runtime has no blocked layout. */
export async function channelBlock(): Promise<number | undefined> {
  const graph: Graph = {
    name: "channel_block",
    inputs: [{ name: "x", datatype: "FP32", shape: [1, CHANNELS, 1, 1] }],
    outputs: [{ name: "y", datatype: "FP32", shape: [1, "channels", 1, 1] }],
    initializers: new Map(),
    nodes: [
      {
        name: "reorder",
        op: "ReorderInput",
        domain: BLOCKED_DOMAIN,
        inputs: ["x"],
        outputs: ["y"],
        attributes: {},
      },
    ],
  };
  const bytes = writeModel({ graph, opsets: opsetsOf(graph), producer: "moiety", metadata: {} });
  const x = new ort.Tensor("float32", new Float32Array(CHANNELS), [1, CHANNELS, 1, 1]);
  try {
    const session = await nativeCall(() =>
      ort.InferenceSession.create(bytes, { logSeverityLevel: 4, intraOpNumThreads: 1 }),
    );
    try {
      const { y } = await nativeCall(() => session.run({ x }));
      const block = y!.dims[1]!;
      return block > CHANNELS ? block : undefined;
    } finally {
      await session.release();
    }
  } catch {
    // A processor, or a build of the runtime, without it.
    return undefined;
  }
}
