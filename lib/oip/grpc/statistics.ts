/** `ModelStatisticsRequest` and its response. */

import type { OipStatistics } from "../statistics.ts";
import { type MessageTable, mapOf, printMessage } from "./message-writer.ts";

const DURATION: MessageTable = { count: [1, "uint64"], ns: [2, "uint64"] };

const INFER: MessageTable = {
  success: [1, DURATION],
  fail: [2, DURATION],
  queue: [3, DURATION],
  compute_input: [4, DURATION],
  compute_infer: [5, DURATION],
  compute_output: [6, DURATION],
  cache_hit: [7, DURATION],
  cache_miss: [8, DURATION],
};

const BATCH: MessageTable = {
  batch_size: [1, "uint64"],
  compute_input: [2, DURATION],
  compute_infer: [3, DURATION],
  compute_output: [4, DURATION],
};

const MODEL: MessageTable = {
  name: [1, "string"],
  version: [2, "string"],
  last_inference: [3, "uint64"],
  inference_count: [4, "uint64"],
  execution_count: [5, "uint64"],
  inference_stats: [6, INFER],
  batch_stats: [7, BATCH],
  memory_usage: [8, { type: [1, "string"], id: [2, "int64"], byte_size: [3, "uint64"] }],
  response_stats: [9, mapOf({})],
};

/** `ModelStatisticsResponse`. */
export function printStatistics(statistics: OipStatistics): Buffer {
  return printMessage(statistics, { model_stats: [1, MODEL] });
}
