/**
 * The processes that descend from one, also those that have made a process group of their own. Read from Linux's /proc;
 * elsewhere there are none to be found, and signals reach the process group alone.
 */

import { readdirSync, readFileSync } from "node:fs";

/** Number and start time together name a process for good: numbers are used again. */
export type ProcessIdentity = { pid: number; startedAt: string };

type Entry = ProcessIdentity & {
  parent: number;
  /** User and system, all threads. */
  cpuMs: number;
};

/** The kernel's unit in /proc is a hundredth of a second, whatever its own. */
const MS_PER_TICK = 10;

/** In no particular order; without `pid` itself. */
export function descendantsOf(pid: number): ProcessIdentity[] {
  return treeBelow(pid).map(({ pid: at, startedAt }) => ({ pid: at, startedAt }));
}

/** Processor time that a process and its descendants have taken since each began; 0 where there is no /proc. */
export function cpuTimeMs(pid: number): number {
  return treeBelow(pid).reduce((sum, { cpuMs }) => sum + cpuMs, readEntry(pid)?.cpuMs ?? 0);
}

function treeBelow(pid: number): Entry[] {
  const children = Map.groupBy(allProcesses(), ({ parent }) => parent);
  const found: Entry[] = [...(children.get(pid) ?? [])];
  // Grows while it is walked.
  for (const { pid: at } of found) found.push(...(children.get(at) ?? []));
  return found;
}

/** Signals it if it still is the process it was. */
export function signalProcess({ pid, startedAt }: ProcessIdentity, signal: NodeJS.Signals): void {
  if (readEntry(pid)?.startedAt !== startedAt) return;
  try {
    process.kill(pid, signal);
  } catch {
    // It ended meanwhile.
  }
}

function allProcesses(): Entry[] {
  let names: string[];
  try {
    names = readdirSync("/proc");
  } catch {
    return [];
  }
  return names.flatMap((name) => (/^\d+$/.test(name) ? (readEntry(Number(name)) ?? []) : []));
}

function readEntry(pid: number): Entry | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name before may hold anything; after it: state, parent, …, processor times as 12th and 13th, start as 20th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const cpuMs = (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
    return { pid, parent: Number(fields[1]), startedAt: fields[19]!, cpuMs };
  } catch {
    return undefined;
  }
}
