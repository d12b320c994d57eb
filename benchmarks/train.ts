/**
 * `npm run bench:train`: milliseconds per training step of the CNN (conv 32 3x3 relu, max-pool 2, conv 64 3x3 relu,
 * max-pool 2, flatten, dense 10 softmax; Adam; batch 32) on real MNIST, ours against Keras and PyTorch.
 *
 * Every contestant is one long-living process on all cores. They run interleaved, one at a time, the others
 * stopped. Each first chooses the fastest of its own documented practices. All do the same work per step: fetch a
 * shuffled batch from uint8 data in memory, scale, forward, backward, update, mean loss and accuracy; and each must
 * show that it learns, or the benchmark fails.
 */

import { join } from "node:path";
import { type Child, type Children, withChildren } from "./children.ts";
import { MNIST_DIRECTORY } from "./mnist.ts";
import { type BenchmarkOptions, readOptions } from "./options.ts";
import { missingPeers, PYTHON } from "./peers/peers.ts";
import { Report, rotated } from "./report.ts";

const NET = "cnn32";
const OURS = "moiety";
const CONTESTANTS_DIRECTORY = join(import.meta.dirname, "contestants");
const READY_DEADLINE_MS = 600_000;
const RUN_DEADLINE_MS = 300_000;
/** Mean loss of the last round: a network that guesses has ln 10 = 2.3. */
const LEARNED_LOSS = 0.25;
const LEARNING_LOSS = 1.5;

type Plan = {
  rounds: number;
  warmUpSteps: number;
  stepsPerRound: number;
  calibrationSteps: number;
  maxLoss: number;
};
type Ready = { ready: true; practice: string; tried: Record<string, number | string> };
type Run = { msPerStep: number; loss: number; accuracy: number };
type Contestant = { name: string; child: Child };

const COMMANDS: Readonly<Record<string, { command: string; script: string }>> = {
  [OURS]: { command: process.execPath, script: "moiety-train.ts" },
  keras: { command: PYTHON, script: "keras_train.py" },
  torch: { command: PYTHON, script: "torch_train.py" },
};

const options = readOptions(process.argv.slice(2), ["keras", "torch"]);
const report = new Report();
await withChildren((children) => benchmark(children, options));
report.print(options.json);

async function benchmark(children: Children, { peers, quick, rounds }: BenchmarkOptions): Promise<void> {
  const plan: Plan = quick
    ? { rounds: rounds ?? 2, warmUpSteps: 64, stepsPerRound: 48, calibrationSteps: 0, maxLoss: LEARNING_LOSS }
    : {
        rounds: rounds ?? 9,
        warmUpSteps: 320,
        stepsPerRound: 208,
        calibrationSteps: 96,
        maxLoss: LEARNED_LOSS,
      };
  const missing = missingPeers(peers);
  for (const { peer, reason } of missing) report.missing(peer, reason);

  const contestants = [await enter(children, OURS, plan)];
  for (const peer of peers.filter((name) => !missing.some((m) => m.peer === name))) {
    try {
      contestants.push(await enter(children, peer, plan));
    } catch (error) {
      report.missing(peer, (error as Error).message);
    }
  }

  for (let round = 1; round <= plan.rounds; round++) {
    const times: string[] = [];
    for (const { name, child } of rotated(contestants, round)) {
      const run = await turn(child, plan.stepsPerRound);
      report.add(stepName(name), "ms", run.msPerStep);
      times.push(`${name} ${run.msPerStep.toFixed(2)} ms, loss ${run.loss.toFixed(3)}`);
      if (round === plan.rounds) checkLearned(name, run, plan);
    }
    console.error(`round ${round} of ${plan.rounds}: ${times.join("; ")}`);
  }
  for (const { name } of contestants.slice(1))
    report.ratio(`train.${NET}.step.vs.${name}`, stepName(OURS), stepName(name));
}

/** Starts a contestant, lets it choose its practice and warm up, and stops it until its first turn. */
async function enter(children: Children, name: string, plan: Plan): Promise<Contestant> {
  console.error(`${name}: starting, choosing its practice, warming up …`);
  const { command, script } = COMMANDS[name]!;
  const child = children.start({
    name: `train-${name}`,
    command,
    args: [join(CONTESTANTS_DIRECTORY, script), MNIST_DIRECTORY, String(plan.calibrationSteps)],
    env: { PYTHONDONTWRITEBYTECODE: "1" },
  });
  try {
    const { practice, tried } = await child.message<Ready>(READY_DEADLINE_MS);
    report.note(`${name}: ${practice}`);
    for (const [other, outcome] of Object.entries(tried))
      report.note(`  tried: ${other}: ${typeof outcome === "number" ? `${outcome.toFixed(2)} ms` : outcome}`);
    await turn(child, plan.warmUpSteps);
    return { name, child };
  } catch (error) {
    await children.stop(child);
    throw error;
  }
}

async function turn(child: Child, steps: number): Promise<Run> {
  child.resume();
  const run = await child.ask<Run>({ steps }, RUN_DEADLINE_MS);
  child.pause();
  return run;
}

function checkLearned(name: string, { loss, accuracy }: Run, { maxLoss }: Plan): void {
  if (!(loss <= maxLoss))
    throw new Error(
      `${name} did not learn: mean loss of the last round is ${loss}, expected at most ${maxLoss} (accuracy ${accuracy})`,
    );
  report.add(`train.${NET}.loss.${name}`, "nats", loss);
  report.add(`train.${NET}.accuracy.${name}`, "share", accuracy);
}

function stepName(contestant: string): string {
  return `train.${NET}.step.${contestant}`;
}
