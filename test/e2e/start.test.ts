/**
 * `npm start` and `npm run repl` as a newcomer meets them: real processes, the real MNIST example, and every way in
 * which a start can go wrong. One training run serves all tests of this file.
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import cnn from "../../examples/mnist/cnn.json" with { type: "json" };
import type { Job } from "../../lib/protocol/jobs.ts";
import type { ModelRecord, ModelVersion } from "../../lib/protocol/models.ts";
import { eventually } from "../fixtures/eventually.ts";
import { endForGood, type Program, runCommand, runProgram } from "../fixtures/program.ts";

const SERVING = /Serving on (http:\/\/[^\s,]+:\d+)/;
const TRAIN_TIMEOUT_MS = 900_000;

let directory: string;
let dataDirectory: string;
let first: { status: number | string; stdout: string; stderr: string };
const programs: Program[] = [];

function start(args: readonly string[], settings: Record<string, string> = {}): Program {
  const program = runProgram(["cli/start.ts", ...args], {
    MOIETY_HTTP_PORT: "0",
    MOIETY_GRPC_PORT: "0",
    MOIETY_DATA_DIR: dataDirectory,
    ...settings,
  });
  programs.push(program);
  return program;
}

/** The address it serves on, once it does. */
const served = async (program: Program) => (await program.untilPrinted(SERVING))[1]!;

async function json<T>(url: string, body?: unknown): Promise<{ status: number; body: T }> {
  const response = await fetch(url, {
    ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    headers: { "content-type": "application/json" },
  });
  return { status: response.status, body: (await response.json()) as T };
}

const lines = (text: string) => text.split("\n").filter((line) => line !== "");

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-start-"));
  // A name that a careless shell line would break on.
  dataDirectory = join(directory, "it's data");
  const program = start(["--exit"]);
  const status = await program.ended(TRAIN_TIMEOUT_MS);
  first = { status, stdout: program.stdout(), stderr: program.stderr() };
});
afterEach(async () => {
  for (const program of programs.splice(0)) await endForGood(program);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe("the first start", () => {
  test("trains the example, shows how it did, and ends with one line of facts", () => {
    expect(first).toMatchObject({ status: 0, stderr: "" });
    const outcome = JSON.parse(lines(first.stdout).at(-1)!);
    expect(Object.keys(outcome)).toEqual([
      "model",
      "version",
      "testAccuracy",
      "epochs",
      "trainSeconds",
      "secondsToFirstPrediction",
    ]);
    expect(outcome).toMatchObject({ model: "mnist", version: 1, epochs: 1 });
    expect(outcome.testAccuracy).toBeGreaterThanOrEqual(0.975);
    expect(outcome.trainSeconds).toBeGreaterThan(0);
    expect(outcome.secondsToFirstPrediction).toBeGreaterThan(outcome.trainSeconds);
    for (const part of [
      "No model yet",
      "epoch 1/1 100%",
      "images/s",
      "precision  recall      f1",
      "truth \\ predicted",
      "60000 examples of mnist",
      "curl -s http://",
    ])
      expect(first.stdout).toContain(part);
  });
});

describe("a later start", () => {
  test("finds the model and serves at once; its curl line works as it is printed; it stops in order", async () => {
    const program = start([]);
    const url = await served(program);
    await program.untilPrinted(/curl .*\n/);
    expect(program.stdout()).toContain("Found model mnist version 1");
    expect(program.stdout()).not.toContain("epoch");

    const line = /^ {2}(curl .*)$/m.exec(program.stdout())![1]!;
    const hasCurl = spawnSync("curl", ["--version"]).status === 0;
    const file = join(dataDirectory, "example-digit.json");
    const answer = hasCurl
      ? JSON.parse(spawnSync("sh", ["-c", line], { encoding: "utf8" }).stdout)
      : (await json<{ prediction: number }>(`${url}/predict`, JSON.parse(await readFile(file, "utf8")))).body;
    expect(answer.prediction).toBe(7);
    expect(line).toContain("example-digit.json");

    expect((await json(`${url}/v2/health/ready`)).status).toBe(200);
    program.child.kill("SIGTERM");
    expect(await program.ended()).toBe(0);
    expect(program.stderr()).toBe("");
    await expect(fetch(`${url}/v2/health/live`)).rejects.toThrow();
  });

  test("with --exit answers the same facts without training again", async () => {
    const program = start(["--exit"]);
    expect(await program.ended()).toBe(0);
    const facts = (text: string) => {
      const { secondsToFirstPrediction: _, ...rest } = JSON.parse(lines(text).at(-1)!);
      return rest;
    };
    expect(facts(program.stdout())).toEqual(facts(first.stdout));
    expect(program.stdout()).not.toContain("epoch 1/1");
  });

  test("with --empty serves without an example, and says so", async () => {
    const program = start(["--empty"], { MOIETY_DATA_DIR: join(directory, "empty") });
    const url = await served(program);
    expect(program.stdout()).toContain("without an example");
    expect((await json(`${url}/api/models`)).body).toEqual([]);
    expect((await json(`${url}/predict`, { image: [] })).status).toBe(404);
    program.child.kill("SIGINT");
    expect(await program.ended()).toBe(0);
    expect(program.stderr()).toBe("");
  });
});

describe("a job under way", () => {
  test("outlives a stop and a SIGKILL, and ends in one published version", async () => {
    const settings = { MOIETY_DATA_DIR: join(directory, "interrupted") };
    const stepDone = async (url: string, { id }: Job) =>
      eventually(async () => {
        const { body } = await json<Job>(`${url}/api/jobs/${id}`);
        return body.state === "running" && body.progress ? body : undefined;
      });

    const stopped = start(["--empty"], settings);
    const request = {
      model: "mnist",
      architecture: cnn,
      data: { dataset: "mnist", trainLimit: 6000 },
      // Long enough to be caught in its midst twice.
      epochs: 8,
    };
    const url = await served(stopped);
    const { body: job, status } = await json<Job>(`${url}/api/jobs`, request);
    expect(status).toBe(202);
    await stepDone(url, job);
    stopped.child.kill("SIGTERM");
    expect(await stopped.ended()).toBe(0);

    const killed = start(["--empty"], settings);
    await stepDone(await served(killed), job);
    killed.child.kill("SIGKILL");
    await killed.ended();

    // Its lease has to run out first.
    const third = start([], settings);
    const finished = await third.untilPrinted(SERVING, TRAIN_TIMEOUT_MS);
    expect(third.stdout()).toContain("8 epoch(s) of batches of 32");
    const { body: jobs } = await json<Job[]>(`${finished[1]}/api/jobs`);
    expect(jobs).toHaveLength(1);
    expect(jobs[0]).toMatchObject({ id: job.id, state: "succeeded", attempts: 2, result: { version: 1 } });
    const { body: models } = await json<ModelRecord[]>(`${finished[1]}/api/models`);
    expect(models).toMatchObject([{ model: "mnist", versions: [1], aliases: { production: 1 } }]);
    third.child.kill("SIGTERM");
    expect(await third.ended()).toBe(0);
  });
});

describe("a start that cannot succeed", () => {
  /** Ends with status 1 and one line on stderr, nothing on stdout. */
  async function refusal(args: readonly string[], settings: Record<string, string>): Promise<string> {
    const program = start(args, settings);
    expect(await program.ended()).toBe(1);
    expect(program.stdout()).toBe("");
    expect(lines(program.stderr())).toHaveLength(1);
    return program.stderr();
  }

  test("because its port is taken says which, how to choose another, and writes nothing", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    const untouched = join(directory, "untouched");
    try {
      const message = await refusal([], { MOIETY_HTTP_PORT: String(port), MOIETY_DATA_DIR: untouched });
      expect(message).toContain(`Port ${port} on 127.0.0.1 is in use; set MOIETY_HTTP_PORT`);
      expect(existsSync(untouched)).toBe(false);
    } finally {
      server.close();
    }
  });

  test("because of a broken variable names it, its value and what is allowed", async () => {
    const untouched = { MOIETY_DATA_DIR: join(directory, "untouched") };
    for (const [name, value, allowed] of [
      ["MOIETY_HTTP_PORT", "70000", "an integer from 0 to 65535"],
      ["MOIETY_LOG_LEVEL", "loud", "one of fatal, error"],
      ["MOIETY_HTTP_PROT", "3000", "no such variable"],
    ] as const) {
      const message = await refusal([], { ...untouched, [name]: value });
      expect(message).toContain(`${name}="${value}" is not valid: expected ${allowed}`);
    }
    expect(existsSync(untouched.MOIETY_DATA_DIR)).toBe(false);
  });

  test("because of its options says what there is", async () => {
    expect(await refusal(["--fast"], {})).toContain("--epochs N, --empty, --exit or --help");
    expect(await refusal(["--epochs", "0"], {})).toContain("an integer from 1 to 1000");
    expect(await refusal(["--empty", "--exit"], {})).toContain("one of the two");
  });

  test("because its data directory is a file, or cannot be written, says so", async () => {
    const file = join(directory, "a file");
    await writeFile(file, "mine");
    expect(await refusal([], { MOIETY_DATA_DIR: file })).toContain("a file stands where a folder is needed");
    expect(await readFile(file, "utf8")).toBe("mine");
    const message = await refusal([], { MOIETY_DATA_DIR: "/proc/moiety" });
    expect(message).toContain("Store at /proc/moiety is not available");
  });
});

describe("the REPL", () => {
  test("lists models and jobs, draws a digit with its probabilities, and says what is wrong", async () => {
    // `script` gives it a terminal, where there is one to be had.
    const settings = { MOIETY_DATA_DIR: dataDirectory, HOME: directory, MOIETY_LOG_LEVEL: "error" };
    const command = [process.execPath, "cli/repl.ts"];
    const hasScript = spawnSync("script", ["--version"]).status === 0;
    const repl = hasScript
      ? runCommand("script", ["-qfec", command.join(" "), "/dev/null"], settings)
      : runCommand(command[0]!, command.slice(1), settings);
    programs.push(repl);
    await repl.untilPrinted(/moiety \$/);
    // A terminal ends lines with a carriage return as well.
    const output = () => repl.stdout().replaceAll("\r", "");
    const ask = async (line: string, answer: RegExp) => {
      const from = output().length;
      repl.child.stdin!.write(`${line}\n`);
      return eventually(async () => {
        const text = output().slice(from);
        return answer.test(text) ? text : undefined;
      });
    };
    expect(await ask("models", /production -> 1.*\n/)).toMatch(
      /mnist +1 +1 +production -> 1 +accuracy 0\.9[789]\d\d +mnist/,
    );
    expect(await ask("jobs", /test accuracy.*\n/)).toMatch(
      /mnist +succeeded +done .* version 1, test accuracy 0\.9/,
    );
    const digit = await ask("predict mnist --test 0", /the label is.*\n/);
    expect(digit).toMatch(/[#%@]{2}/);
    expect(digit).toMatch(/7 +\d+\.\d\d% █+/);
    expect(digit).toContain("mnist version 1 says 7; the label is 7 (right)");
    expect(await ask("predict mnist --test 10000", /expected.*\n/)).toContain(
      "received 10000, expected 0 to 9999",
    );
    expect(await ask("predict nobody", /not found/)).toContain("unknown model: 'nobody'");
    expect(await ask("train nowhere", /not available.*\n/)).toContain("Data set 'nowhere' is not available");
    repl.child.stdin!.write("exit\n");
    expect(await repl.ended()).toBe(0);
  });
});

// Last, because it breaks the model that the others use.
describe("a stored model that is corrupt", () => {
  test("is named; the process goes on and serves the others", async () => {
    const before = start(["--empty"]);
    const url = await served(before);
    const request = {
      model: "other",
      architecture: cnn,
      data: { dataset: "mnist", trainLimit: 500, testLimit: 100 },
    };
    const { body: job } = await json<Job>(`${url}/api/jobs`, request);
    await eventually(async () => {
      const { body } = await json<Job>(`${url}/api/jobs/${job.id}`);
      return body.state === "succeeded" || undefined;
    }, TRAIN_TIMEOUT_MS);
    const { body: version } = await json<ModelVersion>(`${url}/api/models/mnist/versions/1`);
    before.child.kill("SIGTERM");
    expect(await before.ended()).toBe(0);

    const [, hex] = version.artifacts.onnx.digest.split(":") as [string, string];
    const file = join(dataDirectory, "artifacts", "sha256", hex.slice(0, 2), hex);
    const bytes = await readFile(file);
    bytes[bytes.length >> 1]! ^= 1;
    await writeFile(file, bytes);

    const after = start([]);
    const [, address] = await after.untilPrinted(SERVING);
    expect(after.stdout()).toContain("without the example");
    expect(after.stderr()).toContain(`Cannot serve mnist version 1: Artifact sha256:${hex} is corrupt`);
    const inputs = [{ name: "image", datatype: "FP32", shape: [1, 28, 28, 1], data: new Array(784).fill(0) }];
    const broken = await json<{ error: string }>(`${address}/v2/models/mnist/infer`, { inputs });
    expect(broken.status).toBe(503);
    expect(broken.body.error).toContain("is corrupt");
    expect((await json(`${address}/v2/models/other/infer`, { inputs })).status).toBe(200);
    after.child.kill("SIGTERM");
    expect(await after.ended()).toBe(0);
  });
});
