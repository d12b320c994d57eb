/** Shows a training job as it runs: a live bar on a terminal, a line every tenth of an epoch elsewhere. */

import { Presets, SingleBar } from "cli-progress";
import type { Context, ServiceBroker } from "moleculer";
import { errorType } from "../lib/errors.ts";
import type { Events } from "../lib/protocol/events.ts";
import type { Job, TrainingProgress } from "../lib/protocol/jobs.ts";
import { callOf } from "../mixins/config.ts";

/** Events can be lost with a node; the record is the truth and is read this often. */
const POLL_MS = 1000;
const STAGE_TEXT: Record<string, string> = {
  converting: "converting to an ONNX inference graph, checked against the training graph",
  evaluating: "evaluating on the test images",
  publishing: "publishing",
};

/** Follows `job` until it has ended and gives its final record. */
export async function followJob(broker: ServiceBroker, job: Job): Promise<Job> {
  const view = new ProgressView();
  const ended = Promise.withResolvers<Job>();
  const isOurs = (ctx: Context<{ id: string }>) => ctx.params.id === job.id;
  const follower = broker.createService({
    name: `follow-${job.id}`,
    events: {
      "training.progressed"(ctx: Context<Events["training.progressed"]>) {
        if (isOurs(ctx)) view.progress(ctx.params.progress);
      },
      "training.stageChanged"(ctx: Context<Events["training.stageChanged"]>) {
        if (isOurs(ctx)) view.stage(ctx.params.stage);
      },
      "training.ended"(ctx: Context<Events["training.ended"]>) {
        if (isOurs(ctx)) ended.resolve(ctx.params.job);
      },
    },
  });
  const poll = setInterval(() => {
    callOf(broker)("trainer.get", { id: job.id }).then(
      (current) => {
        if (["succeeded", "failed", "cancelled"].includes(current.state)) ended.resolve(current);
      },
      (error: unknown) => {
        // A trainer that restarts is back in a moment; a job that is unknown never will be.
        if (errorType(error) === "JOB_NOT_FOUND") ended.reject(error);
      },
    );
  }, POLL_MS);
  try {
    return await ended.promise;
  } finally {
    clearInterval(poll);
    view.close();
    await broker.destroyService(follower);
  }
}

class ProgressView {
  private readonly live = process.stdout.isTTY === true;
  private bar: SingleBar | undefined;
  private epoch = 0;
  private printedTenths = 0;
  private shownStage = "";

  progress(p: TrainingProgress): void {
    if (this.shownStage !== "training" && this.shownStage !== "") return;
    if (p.epoch !== this.epoch) this.begin(p);
    if (this.live) this.bar?.update(p.step, facts(p));
    else this.line(p);
    if (p.step === p.stepsPerEpoch) this.endBar();
  }

  stage(stage: string): void {
    if (stage !== "training") this.endBar();
    this.shownStage = stage;
    const text = STAGE_TEXT[stage];
    if (text) process.stdout.write(`  ${text}\n`);
  }

  close(): void {
    this.endBar();
  }

  private begin(p: TrainingProgress): void {
    this.endBar();
    this.epoch = p.epoch;
    this.printedTenths = 0;
    if (!this.live) return;
    const format = `  epoch ${p.epoch}/${p.epochs} [{bar}] {percentage}%  loss {loss}  accuracy {accuracy}  {rate} images/s  {left} left`;
    this.bar = new SingleBar({ format, hideCursor: true, barsize: 24, fps: 10 }, Presets.shades_classic);
    this.bar.start(p.stepsPerEpoch, 0, facts(p));
  }

  private line(p: TrainingProgress): void {
    const tenths = Math.floor((10 * p.step) / p.stepsPerEpoch);
    if (tenths <= this.printedTenths) return;
    this.printedTenths = tenths;
    const { loss, accuracy, rate, left } = facts(p);
    const percent = `${tenths * 10}%`.padStart(4);
    process.stdout.write(
      `  epoch ${p.epoch}/${p.epochs} ${percent}  loss ${loss}  accuracy ${accuracy}  ${rate} images/s  ${left} left\n`,
    );
  }

  private endBar(): void {
    this.bar?.stop();
    this.bar = undefined;
  }
}

function facts(p: TrainingProgress): { loss: string; accuracy: string; rate: string; left: string } {
  return {
    loss: p.loss.toFixed(4),
    accuracy: p.accuracy?.toFixed(4) ?? "-",
    rate: p.examplesPerSecond.toFixed(0),
    left: `${p.secondsLeft.toFixed(0)} s`,
  };
}
