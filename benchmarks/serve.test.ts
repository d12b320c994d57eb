import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { ReportData } from "./report.ts";

const DEADLINE_MS = 240_000;

/** The last line of a smoke run. */
async function smoke(...args: string[]): Promise<ReportData> {
  const script = join(import.meta.dirname, "serve.ts");
  const program = spawn(process.execPath, [script, "--json", "--quick", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: DEADLINE_MS,
  });
  let stdout = "";
  let stderr = "";
  program.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  program.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code] = (await once(program, "close")) as [number | null];
  if (code !== 0) throw new Error(`ended with ${code}:\n${stderr}`);
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as ReportData;
}

describe("the serving benchmark", () => {
  test(
    "measures the engine, every wire, the cache and arrivals, each against its peers, with right answers only",
    async () => {
      const { ratios, results, missing } = await smoke(
        ...["--paths", "engine,json,binary,grpc,cached,poisson50", "--peers", "ort,bare,embedded,unbatched"],
        ...["--connections", "4", "--seconds", "1"],
      );
      expect(missing).toEqual([]);
      expect(Object.keys(ratios)).toEqual(
        expect.arrayContaining([
          "engine.images.vs.ort",
          ...["json", "binary", "grpc"].map((path) => `serve.${path}.c4.throughput.vs.bare`),
          "serve.cached.c4.throughput.vs.embedded",
          "serve.poisson50.c64.p99.vs.unbatched",
        ]),
      );
      expect(results.every(({ value }) => value > 0)).toBe(true);
    },
    DEADLINE_MS,
  );
});
