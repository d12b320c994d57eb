/**
 * `npm run bench:train`: training of the networks in networks.ts on real MNIST, ours against Keras and PyTorch: time of
 * a step in steady state, time from process start to the end of the first step, peak memory, and for the brief's CNN
 * the time from process start to 0.98 test accuracy.
 *
 * Every contestant is one long-living process on all cores. They run interleaved, one at a time, the others
 * stopped. Each first chooses the fastest of its own documented practices. All do the same work per step: fetch a
 * shuffled batch from uint8 data in memory, scale, forward, backward, update, mean loss and accuracy; and each must
 * show that it learns, or the benchmark fails.
 */

import { join } from "node:path";
import { type Child, type Children, withChildren } from "./children.ts";
import { MNIST_DIRECTORY } from "./mnist.ts";
import { type BenchmarkNetwork, NETWORKS } from "./networks.ts";
import { type BenchmarkOptions, readOptions } from "./options.ts";
import { missingPeers, PYTHON, TFJS_PEER } from "./peers/peers.ts";
import { Report, rotated } from "./report.ts";

const OURS = "moiety";
const CONTESTANTS_DIRECTORY = join(import.meta.dirname, "contestants");
/** Trying practices takes minutes: every one compiles its own graph. */
const READY_DEADLINE_MS = 1_200_000;
const RUN_DEADLINE_MS = 600_000;
const LEARNING_LOSS = 2.32;
const AIMED_ACCURACY = 0.98;
const ACCURACY_NET = "cnn32";
/** Networks of one framework have a few parameters more than another's (two biases of an LSTM). */
const PARAMETERS_TOLERANCE = 0.01;

type Plan = {
  net: string;
  rounds: number;
  startRounds: number;
  warmUpSteps: number;
  stepsPerRound: number;
  calibrationSteps: number;
  maxLoss: number;
};
type Ready = {
  ready: true;
  practice: string;
  parameters: number;
  tried: Record<string, number | string>;
};
type Run = { msPerStep: number; loss: number; accuracy: number };
type Contestant = { name: string; child: Child; practice: string; parameters: number };

const COMMANDS: Readonly<Record<string, { command: string; script: string }>> = {
  [OURS]: { command: process.execPath, script: "moiety-train.ts" },
  keras: { command: PYTHON, script: "keras_train.py" },
  torch: { command: PYTHON, script: "torch_train.py" },
  [TFJS_PEER]: { command: process.execPath, script: "tfjs-train.ts" },
};

const options = readOptions(process.argv.slice(2), {
  peers: ["keras", "torch", TFJS_PEER],
  nets: Object.keys(NETWORKS),
});
const report = new Report();
await withChildren(async (children) => {
  const missing = missingPeers(options.peers);
  for (const { peer, reason } of missing) report.missing(peer, reason);
  const peers = options.peers.filter((name) => !missing.some((m) => m.peer === name));
  const shares: number[] = [];
  for (const net of options.nets) {
    const share = await benchmark(children, peers, planOf(net, NETWORKS[net]!, options));
    if (share !== undefined) shares.push(share);
  }
  if (shares.length === Object.keys(NETWORKS).length)
    report.setRatio("train.geomean.step.vs.fastest", geometricMean(shares));
});
report.print(options.json);

function planOf(net: string, network: BenchmarkNetwork, { quick, rounds }: BenchmarkOptions): Plan {
  const { stepsPerRound, warmUpSteps, maxLoss } = network;
  if (quick)
    return {
      net,
      rounds: rounds ?? 2,
      startRounds: 1,
      warmUpSteps: 16,
      stepsPerRound: 16,
      calibrationSteps: 0,
      maxLoss: LEARNING_LOSS,
    };
  return {
    net,
    rounds: rounds ?? 9,
    startRounds: 3,
    warmUpSteps,
    stepsPerRound,
    calibrationSteps: Math.max(32, Math.round(stepsPerRound / 2)),
    maxLoss,
  };
}

/** Gives our step time as a share of the fastest peer's, if there was one. */
async function benchmark(
  children: Children,
  peers: readonly string[],
  plan: Plan,
): Promise<number | undefined> {
  const { net } = plan;
  console.error(`${net}: ${NETWORKS[net]!.about}`);
  const contestants = [await enter(children, OURS, plan)];
  for (const peer of peers) {
    try {
      contestants.push(await enter(children, peer, plan));
    } catch (error) {
      report.missing(`${peer} (${net})`, (error as Error).message);
    }
  }
  checkParameters(contestants);

  for (let round = 1; round <= plan.rounds; round++) {
    const times: string[] = [];
    for (const { name, child } of rotated(contestants, round)) {
      const run = await turn<Run>(child, { steps: plan.stepsPerRound });
      report.add(measure(net, "step", name), "ms", run.msPerStep);
      report.add(measure(net, "examples", name), "examples/s", (batchOf(net) * 1000) / run.msPerStep);
      times.push(`${name} ${run.msPerStep.toFixed(2)} ms, loss ${run.loss.toFixed(3)}`);
      if (round === plan.rounds) checkLearned(name, run, plan);
    }
    console.error(`${net}: round ${round} of ${plan.rounds}: ${times.join("; ")}`);
  }
  for (const { child } of contestants) await children.stop(child);
  for (let round = 1; round <= plan.startRounds; round++)
    for (const { name, practice } of rotated(contestants, round)) await start(children, plan, name, practice);

  for (const { name } of contestants.slice(1)) {
    const ratio = (what: string, name_: string) =>
      report.ratio(`train.${net}.${what}.vs.${name_}`, measure(net, what, OURS), measure(net, what, name_));
    for (const what of ["step", "startup", "memory"]) ratio(what, name);
    if (net === ACCURACY_NET) ratio("timeToAccuracy", name);
  }
  const steps = contestants.map(({ name }) => report.median(measure(net, "step", name)));
  return steps.length > 1 ? steps[0]! / Math.min(...steps.slice(1)) : undefined;
}

/** Starts a contestant, lets it choose its practice and warm up, and stops it until its first turn. */
async function enter(children: Children, name: string, plan: Plan): Promise<Contestant> {
  console.error(`${plan.net}: ${name}: starting, choosing its practice, warming up …`);
  const child = spawn(children, name, plan.net, plan.calibrationSteps);
  try {
    const { practice, parameters, tried } = await child.message<Ready>(READY_DEADLINE_MS);
    report.note(`${plan.net}, ${name}: ${practice}`);
    for (const [other, outcome] of Object.entries(tried))
      report.note(`  tried: ${other}: ${typeof outcome === "number" ? `${outcome.toFixed(2)} ms` : outcome}`);
    await turn(child, { steps: plan.warmUpSteps });
    return { name, child, practice, parameters };
  } catch (error) {
    await children.stop(child);
    throw error;
  }
}

/** From process start to the end of the first step, the peak memory after a round, and the time to the aimed accuracy. */
async function start(children: Children, plan: Plan, name: string, practice: string): Promise<void> {
  const { net } = plan;
  const begin = performance.now();
  const child = spawn(children, name, net, 0, practice);
  await child.message<Ready>(READY_DEADLINE_MS);
  await child.ask({ first: true }, RUN_DEADLINE_MS);
  report.add(measure(net, "startup", name), "s", (performance.now() - begin) / 1000);
  await child.ask({ steps: plan.stepsPerRound }, RUN_DEADLINE_MS);
  const { peakMiB } = await child.ask<{ peakMiB: number }>({ memory: true }, RUN_DEADLINE_MS);
  report.add(measure(net, "memory", name), "MiB", peakMiB);
  await children.stop(child);
  if (net !== ACCURACY_NET) return;
  const again = performance.now();
  const fresh = spawn(children, name, net, 0, practice);
  await fresh.message<Ready>(READY_DEADLINE_MS);
  const reached = await fresh.ask<{ accuracy: number; steps: number }>(
    { timeTo: AIMED_ACCURACY },
    RUN_DEADLINE_MS,
  );
  const seconds = (performance.now() - again) / 1000;
  await children.stop(fresh);
  if (reached.accuracy < AIMED_ACCURACY)
    throw new Error(
      `${name} reached ${reached.accuracy} in ${reached.steps} steps, expected ${AIMED_ACCURACY}`,
    );
  report.add(measure(net, "timeToAccuracy", name), "s", seconds);
  console.error(`${net}: ${name}: ${reached.accuracy} after ${reached.steps} steps, ${seconds.toFixed(1)} s`);
}

function spawn(
  children: Children,
  name: string,
  net: string,
  calibrationSteps: number,
  practice?: string,
): Child {
  const { command, script } = COMMANDS[name]!;
  const args = [join(CONTESTANTS_DIRECTORY, script), MNIST_DIRECTORY, net, String(calibrationSteps)];
  return children.start({
    name: `train-${name}`,
    command,
    args: practice === undefined ? args : [...args, practice],
    env: { PYTHONDONTWRITEBYTECODE: "1" },
  });
}

async function turn<T>(child: Child, request: Record<string, unknown>): Promise<T> {
  child.resume();
  const answer = await child.ask<T>(request, RUN_DEADLINE_MS);
  child.pause();
  return answer;
}

function checkLearned(name: string, { loss, accuracy }: Run, { net, maxLoss }: Plan): void {
  if (!(loss <= maxLoss))
    throw new Error(
      `${name} did not learn ${net}: mean loss of the last round is ${loss}, expected at most ${maxLoss} (accuracy ${accuracy})`,
    );
  report.add(measure(net, "loss", name), "nats", loss);
  report.add(measure(net, "accuracy", name), "share", accuracy);
}

/** All train networks of the same size, or they are not the same. */
function checkParameters([ours, ...peers]: readonly Contestant[]): void {
  for (const { name, parameters } of peers)
    if (Math.abs(parameters / ours!.parameters - 1) > PARAMETERS_TOLERANCE)
      throw new Error(`${name} trains ${parameters} parameters, ${ours!.name} ${ours!.parameters}`);
}

function measure(net: string, what: string, contestant: string): string {
  return `train.${net}.${what}.${contestant}`;
}

function batchOf(net: string): number {
  return NETWORKS[net]!.batchSize;
}

function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}
