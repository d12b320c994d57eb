/**
 * `npm run bench:serve`: images per second of the inference plane against onnxruntime in a loop, and requests per
 * second, p50 and p99 of single-image prediction over HTTP and gRPC at several numbers of connections, against bare
 * servers, other model servers, the cluster and Moiety without batching. paths.ts says who is compared with whom.
 *
 * All servers are up from the start, and stopped (SIGSTOP) while another is measured. Rounds are interleaved. The load
 * generator checks every answer against what onnxruntime says of that image.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Children, withChildren } from "./children.ts";
import { ENGINE, ENGINE_PEERS, measureEngine } from "./engine.ts";
import { type BenchmarkOptions, readOptions } from "./options.ts";
import { PATH_PEERS, PATHS, type Path, type Seat } from "./paths.ts";
import { BENCH_DIRECTORY } from "./peers/peers.ts";
import { Report, rotated } from "./report.ts";
import { type Load, Roster, type TurnResult } from "./roster.ts";

const OURS = "moiety";
const OPEN_LOOP_CONNECTIONS = 64;
const MEASURES = ["throughput", "p50", "p99", "cpu", "generator"] as const;

type Plan = { rounds: number; connections: readonly number[]; warmUpMs: number; durationMs: number };
type Contestant = {
  name: string;
  seat: Seat;
  /** Numbers of connections at which it has failed. */
  failedAt: Set<number>;
};
/** Who takes part in a path, ours first. */
type Contest = Pick<Path, "shareOfCapacity"> & {
  path: string;
  contestants: Contestant[];
};

const options = readOptions(process.argv.slice(2), {
  peers: [...PATH_PEERS, ...ENGINE_PEERS],
  paths: [ENGINE, ...Object.keys(PATHS)],
});
const report = new Report();
await withChildren((children) => benchmark(children, options));
report.print(options.json);

async function benchmark(children: Children, chosen: BenchmarkOptions): Promise<void> {
  const plan = planOf(chosen);
  mkdirSync(BENCH_DIRECTORY, { recursive: true });
  const directory = mkdtempSync(join(BENCH_DIRECTORY, "serve-"));
  try {
    const roster = new Roster(children, directory);
    const contests = contestsOf(chosen);
    const missing = await roster.start(contests.flatMap(({ contestants }) => contestants.map((c) => c.seat)));
    for (const { peer, reason } of missing) report.missing(peer, reason);
    for (const contest of contests)
      contest.contestants = contest.contestants.filter(({ seat }) => roster.has(seat));

    if (chosen.paths.includes(ENGINE) && ENGINE_PEERS.some((peer) => chosen.peers.includes(peer)))
      await measureEngine({ children, roster, report, ...plan });
    for (let round = 1; round <= plan.rounds; round++) {
      const capacity = contests.some(isOpen) ? await capacityOf(roster, plan) : 0;
      for (const contest of contests)
        for (const connections of connectionsOf(contest, plan)) {
          const { shareOfCapacity } = contest;
          const arrivals = shareOfCapacity && { perSecond: shareOfCapacity * capacity, seed: round };
          const { warmUpMs, durationMs } = plan;
          const load = { connections, warmUpMs, durationMs, ...(arrivals ? { arrivals } : {}) };
          await measure(roster, contest, load, `round ${round} of ${plan.rounds}`, round);
        }
    }
    for (const contest of contests) compare(contest, connectionsOf(contest, plan));
  } finally {
    await children.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

function planOf({ quick, rounds, connections, seconds }: BenchmarkOptions): Plan {
  const durationMs = (seconds ?? (quick ? 1 : 4)) * 1000;
  return {
    rounds: rounds ?? (quick ? 1 : 5),
    connections: connections ?? (quick ? [1, 64] : [1, 16, 64, 256]),
    warmUpMs: Math.min(1000, durationMs / 4),
    durationMs,
  };
}

function contestsOf({ paths, peers }: BenchmarkOptions): Contest[] {
  return Object.entries(PATHS).flatMap(([path, { ours, peers: known, shareOfCapacity }]: [string, Path]) => {
    const others = Object.entries(known).filter(([name]) => peers.includes(name));
    if (!paths.includes(path) || others.length === 0) return [];
    return [
      {
        path,
        shareOfCapacity,
        contestants: [[OURS, ours] as const, ...others].map(([name, seat]) => ({
          name,
          seat,
          failedAt: new Set<number>(),
        })),
      },
    ];
  });
}

function isOpen({ shareOfCapacity }: Contest): boolean {
  return shareOfCapacity !== undefined;
}

/** Arrivals of an open loop do not depend on connections: one number, enough for what is in flight. */
function connectionsOf(contest: Contest, { connections }: Plan): readonly number[] {
  return isOpen(contest) ? [OPEN_LOOP_CONNECTIONS] : connections;
}

/** What Moiety answers in a second when as many connections are always busy. Anew in each round: machines drift. */
async function capacityOf(roster: Roster, { warmUpMs, durationMs }: Plan): Promise<number> {
  const load = { connections: OPEN_LOOP_CONNECTIONS, warmUpMs, durationMs };
  const { requestsPerSecond } = await roster.turn(PATHS.json!.ours, load);
  report.add("serve.capacity.moiety", "requests/s", requestsPerSecond);
  return requestsPerSecond;
}

/** One turn of each contestant. One that fails is out at this number of connections, and named. */
async function measure(
  roster: Roster,
  contest: Contest,
  load: Load,
  when: string,
  round: number,
): Promise<void> {
  const { path } = contest;
  const { connections } = load;
  for (const { name, seat, failedAt } of rotated(contest.contestants, round)) {
    if (failedAt.has(connections)) continue;
    const where = `${when}, ${path}, ${connections} connections, ${name}`;
    try {
      const result = await roster.turn(seat, load);
      record(path, connections, name, result);
      console.error(`${where}: ${summary(result)}`);
    } catch (error) {
      if (name === OURS) throw error;
      console.error(`${where}: ${(error as Error).message}`);
      report.missing(`${name} (${path}, ${connections} connections)`, (error as Error).message);
      failedAt.add(connections);
    }
  }
}

function record(path: string, connections: number, name: string, result: TurnResult): void {
  const add = (measure: (typeof MEASURES)[number], unit: string, sample: number) =>
    report.add(seriesName(path, connections, measure, name), unit, sample);
  add("throughput", "requests/s", result.requestsPerSecond);
  add("p50", "ms", result.p50Ms);
  add("p99", "ms", result.p99Ms);
  // Without /proc there is none to be read.
  if (result.serverCpuUsPerRequest > 0) add("cpu", "us/request", result.serverCpuUsPerRequest);
  add("generator", "us/request", result.cpuUsPerRequest);
}

function summary({ requestsPerSecond, p50Ms, p99Ms, cpuShare }: TurnResult): string {
  return (
    `${requestsPerSecond.toFixed(0)} requests/s, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms ` +
    `(load generator: ${(cpuShare * 100).toFixed(0)}% of a core)`
  );
}

/** Ratios to every peer where it has lasted to the end, and what the cluster adds to one process. */
function compare({ path, contestants }: Contest, counts: readonly number[]): void {
  for (const { name, failedAt } of contestants.slice(1))
    for (const connections of counts) {
      if (failedAt.has(connections)) continue;
      const of = (measure: string, contestant: string) => seriesName(path, connections, measure, contestant);
      for (const measure of ["throughput", "p50", "p99", "cpu"])
        if (report.has(of(measure, OURS)) && report.has(of(measure, name)))
          report.ratio(
            `serve.${path}.c${connections}.${measure}.vs.${name}`,
            of(measure, OURS),
            of(measure, name),
          );
      if (path === "cluster")
        report.difference(`serve.${path}.c${connections}.p50.added`, of("p50", OURS), of("p50", name));
    }
}

/** `serve.json.c64.p99.fastapi`. */
function seriesName(path: string, connections: number, measure: string, contestant: string): string {
  return `serve.${path}.c${connections}.${measure}.${contestant}`;
}
