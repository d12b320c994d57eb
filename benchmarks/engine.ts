/**
 * Images per second through `inference.predict` with callers in the same process, against raw onnxruntime in a loop
 * with as many worker threads (`ort`) or one for each core (`ortcores`), each at its best: all are first tried with several batch sizes, or numbers of callers,
 * and measured with the fastest. `images`: every call carries one image; `batches`: every call carries several.
 */

import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Child, Children } from "./children.ts";
import { type Report, rotated } from "./report.ts";
import type { Roster } from "./roster.ts";
import { inferenceWorkers } from "./servers.ts";

/** Its name among the paths. */
export const ENGINE = "engine";
export const ENGINE_PEERS: readonly string[] = ["ort"];

const CONTESTANTS_DIRECTORY = join(import.meta.dirname, "contestants");
const READY_DEADLINE_MS = 120_000;
const ANSWER_GRACE_MS = 60_000;
const ORT_BATCHES = [1, 4, 8, 16, 32, 64, 128, 256];
const TRIAL_SHARE = 0.25;

/** What a contestant is asked: `rows` images a run or call; `callers` that wait for one call each. */
export type EngineOrder = { rows: number; callers: number; seconds: number };
export type EngineResult = { imagesPerSecond: number };

type Setting = Omit<EngineOrder, "seconds">;
type Contestant = { series: string; child: Child; settings: readonly Setting[]; chosen?: Setting };
type Run = { children: Children; roster: Roster; report: Report; rounds: number; durationMs: number };

const rowsOf = (rows: readonly number[], callers: number): Setting[] =>
  rows.map((n) => ({ rows: n, callers }));
const callersOf = (callers: readonly number[]): Setting[] => callers.map((n) => ({ rows: 1, callers: n }));

/** @throws {Error} when a contestant fails or answers otherwise than onnxruntime */
export async function measureEngine({ children, roster, report, rounds, durationMs }: Run): Promise<void> {
  const workers = inferenceWorkers();
  const cores = availableParallelism();
  const start = (name: string, script: string, threads: number, ...more: string[]): Child =>
    children.start({
      name: `engine-${name}`,
      command: process.execPath,
      args: [join(CONTESTANTS_DIRECTORY, script), roster.onnxFile, String(threads), ...more],
    });
  const moiety = start("moiety", "engine-moiety.ts", workers, roster.copyData("engine"));
  const ort = start("ort", "engine-ort.ts", workers);
  const ortcores = start("ortcores", "engine-ort.ts", cores);
  const contestants: Contestant[] = [
    { series: "engine.images.moiety", child: moiety, settings: callersOf([32, 64, 128, 256, 512]) },
    { series: "engine.batches.moiety", child: moiety, settings: rowsOf([8, 16, 32], 4 * workers) },
    { series: "engine.images.ort", child: ort, settings: rowsOf(ORT_BATCHES, workers) },
    { series: "engine.images.ortcores", child: ortcores, settings: rowsOf(ORT_BATCHES, cores) },
  ];
  for (const child of [moiety, ort, ortcores]) {
    await child.message<{ ready: true }>(READY_DEADLINE_MS);
    child.pause();
  }
  const ask = async ({ child }: Contestant, setting: Setting, ms: number) => {
    child.resume();
    const order: EngineOrder = { ...setting, seconds: ms / 1000 };
    const cpuBeforeMs = child.cpuMs;
    const { imagesPerSecond } = await child.ask<EngineResult>(order, ms + ANSWER_GRACE_MS);
    const cpuUsPerImage = ((child.cpuMs - cpuBeforeMs) * 1_000_000) / (imagesPerSecond * ms);
    child.pause();
    return { imagesPerSecond, cpuUsPerImage };
  };

  for (const contestant of contestants) {
    let best = 0;
    const tried: string[] = [];
    await ask(contestant, contestant.settings[0]!, durationMs * TRIAL_SHARE);
    for (const setting of contestant.settings) {
      const { imagesPerSecond: rate } = await ask(contestant, setting, durationMs * TRIAL_SHARE);
      tried.push(`${setting.rows} x ${setting.callers}: ${rate.toFixed(0)}`);
      if (rate > best) [best, contestant.chosen] = [rate, setting];
    }
    const { rows, callers } = contestant.chosen!;
    const note = `${contestant.series}: ${rows} images x ${callers}, the fastest of ${tried.join(", ")} images/s`;
    report.note(note);
    console.error(note);
  }
  for (let round = 1; round <= rounds; round++)
    for (const contestant of rotated(contestants, round)) {
      const { imagesPerSecond, cpuUsPerImage } = await ask(contestant, contestant.chosen!, durationMs);
      report.add(contestant.series, "images/s", imagesPerSecond);
      if (cpuUsPerImage > 0) report.add(`${contestant.series}.cpu`, "us/image", cpuUsPerImage);
      console.error(
        `round ${round} of ${rounds}, ${contestant.series}: ${imagesPerSecond.toFixed(0)} images/s, ` +
          `${cpuUsPerImage.toFixed(1)} us of processor time each`,
      );
    }
  report.ratio("engine.images.vs.ort", "engine.images.moiety", "engine.images.ort");
  report.ratio("engine.batches.vs.ort", "engine.batches.moiety", "engine.images.ort");
  report.ratio("engine.images.vs.ortcores", "engine.images.moiety", "engine.images.ortcores");
  for (const child of [moiety, ort, ortcores]) await children.stop(child);
}
