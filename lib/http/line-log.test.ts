import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:fs";
import { mkdtemp, open, readFile, rename, rm, unlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { settled, until } from "../../test/fixtures/eventually.ts";
import { LineLog } from "./line-log.ts";

let directory: string;
let dropped: Record<string, number>;
let failures: unknown[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-line-log-"));
  dropped = { slow: 0, failed: 0 };
  failures = [];
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function logTo(target: string, maxWaiting?: number): LineLog {
  return new LineLog({
    target,
    ...(maxWaiting === undefined ? {} : { maxWaiting }),
    onDropped: (lines, cause) => {
      dropped[cause]! += lines;
    },
    onFailure: (error) => failures.push(error),
  });
}

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => String(from + i));
const linesOf = async (file: string) => (await readFile(file, "utf8")).split("\n").slice(0, -1);

test("lines arrive whole, once and in order, appended to what is there", async () => {
  const file = join(directory, "log");
  for (const [from, to] of [
    [0, 20_000],
    [20_000, 20_003],
  ] as const) {
    const log = logTo(file);
    await log.open();
    for (const line of numbers(from, to)) log.write(line);
    await log.close();
  }
  expect(await linesOf(file)).toEqual(numbers(0, 20_003));
  expect(dropped).toEqual({ slow: 0, failed: 0 });
});

test("a file that is moved away keeps its lines, and the next ones go to a new one", async () => {
  const file = join(directory, "log");
  const log = logTo(file);
  await log.open();
  log.write("before");
  log.reopen();
  await until(() => execFileSync("cat", [file]).length > 0);
  await rename(file, `${file}.1`);
  log.reopen();
  log.write("after");
  await log.close();
  expect([await linesOf(`${file}.1`), await linesOf(file)]).toEqual([["before"], ["after"]]);
});

test("a file that is moved away is missed without being told", async () => {
  const file = join(directory, "log");
  const log = logTo(file);
  await log.open();
  await unlink(file);
  let written = 0;
  // Until it looks again, lines go to the file that has no name any more.
  await until(() => {
    log.write(String(written++));
    return execFileSync("ls", [directory]).includes("log");
  });
  await log.close();
  expect((await linesOf(file)).length).toBeGreaterThan(0);
});

test("while nobody takes what is written, lines are dropped and counted, and nothing waits for them", async () => {
  const pipe = join(directory, "pipe");
  execFileSync("mkfifo", [pipe]);
  // There is a reader, who reads nothing.
  const reader = await open(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const log = logTo(pipe, 50_000);
  await log.open();
  const line = "x".repeat(999);
  let written = 0;
  // The pipe itself holds 64 KiB, what is being written as much, what waits 50 kB.
  await until(() => {
    for (let i = 0; i < 100; i++, written++) log.write(line);
    return dropped.slow! > 1000;
  });
  let taken = 0;
  const cat = spawn("cat", [pipe], { stdio: ["ignore", "pipe", "inherit"] });
  const catEnded = once(cat, "close");
  cat.stdout.on("data", (chunk: Buffer) => {
    taken += chunk.length;
  });
  await until(() => taken === (written - dropped.slow!) * 1000);
  log.write("goes on");
  await log.close();
  await reader.close();
  await settled(catEnded);
  expect(taken).toBe((written - dropped.slow!) * 1000 + 8);
  expect(dropped.failed).toBe(0);
});

test("closing does not wait for a reader that never reads, and counts what is lost", async () => {
  const pipe = join(directory, "pipe");
  execFileSync("mkfifo", [pipe]);
  const reader = await open(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  const log = logTo(pipe);
  await log.open();
  for (let i = 0; i < 1000; i++) log.write("x".repeat(999));
  await log.close();
  expect(dropped).toEqual({ slow: 1000, failed: 0 });
  await reader.close();
});

test("lines that cannot be written are counted, and the failure is told of once", async () => {
  const log = logTo("/dev/full");
  await log.open();
  for (const line of numbers(0, 20_000)) log.write(line);
  await log.close();
  expect(dropped).toEqual({ slow: 0, failed: 20_000 });
  expect(failures).toEqual([expect.objectContaining({ code: "ENOSPC" })]);
});

test("standard output takes lines too, and is waited for", async () => {
  const script = `
    import { LineLog } from ${JSON.stringify(join(import.meta.dirname, "line-log.ts"))};
    const log = new LineLog({ target: "-", onDropped() {}, onFailure() {} });
    await log.open();
    for (let i = 0; i < 100_000; i++) log.write(String(i));
    await log.close();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  await once(child, "close");
  expect(text.split("\n")).toEqual([...numbers(0, 100_000), ""]);
});
