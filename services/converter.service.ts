/** Turns trained state into served models, each in a thread of its own, checked against the graph that trained it. */

import type { Context, Service, ServiceSchema } from "moleculer";
import type { ConvertTask } from "../lib/conversion/convert-task.ts";
import type { ActionParams, ActionResult } from "../lib/protocol/actions.ts";
import { TaskGroup } from "../lib/runtime/task-group.ts";
import { configOf } from "../mixins/config.ts";
import { ARTIFACT_PARAMS, DATASET_PARAMS } from "../mixins/params.ts";

type Converter = Service & { tasks: TaskGroup };
type Schema = ServiceSchema<
  Record<string, unknown>,
  Record<string, unknown>,
  Record<string, unknown>,
  Converter
>;

const TASK = new URL("../lib/conversion/convert-task.ts", import.meta.url);
const TIMEOUT_MS = 10 * 60_000;

export default {
  name: "converter",

  actions: {
    convert: {
      params: { $$strict: true, checkpoint: ARTIFACT_PARAMS, dataset: DATASET_PARAMS },
      handler(this: Converter, ctx: Context<ActionParams<"converter.convert">>) {
        const { store, datasetsDirectory, datasetsMemoryBytes } = configOf(this.broker);
        return this.tasks.run<ConvertTask, ActionResult<"converter.convert">>(
          TASK,
          { store, datasetsDirectory, datasetsMemoryBytes, ...ctx.params },
          TIMEOUT_MS,
        );
      },
    },
  },

  created(this: Converter) {
    this.tasks = new TaskGroup("converter");
  },

  stopped(this: Converter) {
    return this.tasks.stop();
  },
} satisfies Schema;
