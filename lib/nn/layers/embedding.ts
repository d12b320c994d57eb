/**
 * Embedding: a row of a table [input_dim, output_dim] for each id, [batch, ...] to [batch, ..., output_dim]. Ids are
 * whole numbers; fractions are cut off, as in Keras. An id outside 0 to input_dim - 1 is an error when the graph
 * runs. With `mask_zero` id 0 stands for nothing: the output has a mask that is false there.
 */

import { ONNX_TYPE } from "../../onnx/proto.ts";
import { inKerasOrder, type LayerDefinition } from "../layer.ts";
import { readWeight, refusePenalties } from "./common.ts";

export const embedding: LayerDefinition = (config) => {
  const rows = config.integer("input_dim", {});
  const size = config.integer("output_dim", {});
  const maskZero = config.boolean("mask_zero", false);
  const declared = readWeight(config, "embeddings", "RandomUniform");
  config.ignore("input_length");
  config.unset("weights");
  refusePenalties(config);

  return (c, [x]) => {
    const { graph } = c;
    const given = inKerasOrder(graph, x!);
    c.limitIds(given, rows);
    const ids = given.datatype === "INT32" ? given : graph.op("Cast", [given], { to: ONNX_TYPE.INT32 });
    const whole = (value: number) =>
      graph.constant(`int32_${value}`, { datatype: "INT32", shape: [], data: Int32Array.of(value) });
    const table = c.weight({
      name: "embeddings",
      shape: [rows, size],
      ...declared,
      fans: { fanIn: rows, fanOut: size },
      trainable: true,
    });
    // ONNX counts negative ids from the end; here they are as much an error as ids beyond it.
    const counted = graph.op("Where", [graph.op("Less", [ids, whole(0)]), whole(rows), ids]);
    const value = graph.op("Gather", [table, counted], { axis: 0 });
    if (!maskZero) return { value };
    return { value, mask: graph.op("Not", [graph.op("Equal", [ids, whole(0)])]) };
  };
};
