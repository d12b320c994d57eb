/** Scores served models on labelled data, each in a thread of its own. */

import type { Context, Service, ServiceSchema } from "moleculer";
import type { EvaluateTask } from "../lib/evaluation/evaluate-task.ts";
import type { ActionParams } from "../lib/protocol/actions.ts";
import type { Evaluation } from "../lib/protocol/models.ts";
import { TaskGroup } from "../lib/runtime/task-group.ts";
import { configOf } from "../mixins/config.ts";
import { ARTIFACT_PARAMS, DATASET_PARAMS } from "../mixins/params.ts";

type Evaluator = Service & { tasks: TaskGroup };
type Schema = ServiceSchema<
  Record<string, unknown>,
  Record<string, unknown>,
  Record<string, unknown>,
  Evaluator
>;

const TASK = new URL("../lib/evaluation/evaluate-task.ts", import.meta.url);
const TIMEOUT_MS = 10 * 60_000;

export default {
  name: "evaluator",

  actions: {
    evaluate: {
      params: {
        $$strict: true,
        onnx: ARTIFACT_PARAMS,
        dataset: DATASET_PARAMS,
        scores: {
          type: "record",
          key: "string",
          value: { type: "enum", values: ["probabilities", "logits"] },
          optional: true,
        },
        batchSize: "number|integer|min:1|optional",
      },
      handler(this: Evaluator, ctx: Context<ActionParams<"evaluator.evaluate">>) {
        const { store, datasetsDirectory, datasetsMemoryBytes } = configOf(this.broker);
        return this.tasks.run<EvaluateTask, Evaluation>(
          TASK,
          { store, datasetsDirectory, datasetsMemoryBytes, ...ctx.params },
          TIMEOUT_MS,
        );
      },
    },
  },

  created(this: Evaluator) {
    this.tasks = new TaskGroup("evaluator");
  },

  stopped(this: Evaluator) {
    return this.tasks.stop();
  },
} satisfies Schema;
