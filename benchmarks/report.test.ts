import { median, Report, type ReportData, rotated } from "./report.ts";

const MACHINE = { cores: 2, cpu: "Test CPU", node: "24.0.0" };

function printed(report: Report, json: boolean): string[] {
  let text = "";
  report.print(json, (part) => {
    text += part;
  });
  return text.trimEnd().split("\n");
}

describe("a benchmark report", () => {
  test("takes the middle of an odd number of samples and the mean of the two middle ones of an even number", () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(() => median([])).toThrow("no samples");
  });

  test("ends with one line of JSON that holds machine, results, ratios and missing peers", () => {
    const report = new Report(MACHINE);
    for (const ms of [12, 10, 11]) report.add("train.cnn32.step.moiety", "ms", ms);
    for (const ms of [20, 22, 40]) report.add("train.cnn32.step.keras", "ms", ms);
    report.ratio("train.cnn32.step.vs.keras", "train.cnn32.step.moiety", "train.cnn32.step.keras");
    report.missing("torch", "pip install failed");
    const data = JSON.parse(printed(report, true).at(-1) ?? "") as ReportData;
    expect(data).toEqual({
      machine: MACHINE,
      results: [
        { name: "train.cnn32.step.moiety", value: 11, unit: "ms", min: 10, max: 12, runs: 3 },
        { name: "train.cnn32.step.keras", value: 22, unit: "ms", min: 20, max: 40, runs: 3 },
      ],
      ratios: { "train.cnn32.step.vs.keras": 0.5 },
      missing: [{ peer: "torch", reason: "pip install failed" }],
    });
  });

  test("prints a table with every result, ratio, missing peer and note, and no JSON unless asked", () => {
    const report = new Report(MACHINE);
    report.add("serve.json.c1.throughput.moiety", "requests/s", 1234.5678);
    report.add("serve.json.c1.throughput.bare", "requests/s", 2000);
    report.ratio(
      "serve.json.c1.throughput.vs.bare",
      "serve.json.c1.throughput.moiety",
      "serve.json.c1.throughput.bare",
    );
    report.missing("flask", "not installed");
    report.note("bare: 1 worker");
    const lines = printed(report, false);
    expect(lines).toContain("missing: flask: not installed");
    expect(lines.at(-1)).toBe("bare: 1 worker");
    expect(lines.find((line) => line.startsWith("serve.json.c1.throughput.moiety"))).toMatch(
      /1235 +requests\/s/,
    );
    expect(lines.find((line) => line.startsWith("serve.json.c1.throughput.vs.bare"))).toMatch(/0\.6173$/);
  });

  test("refuses a ratio of names without samples or in different units", () => {
    const report = new Report(MACHINE);
    report.add("a", "ms", 1);
    report.add("b", "requests/s", 1);
    expect(() => report.ratio("a.vs.c", "a", "c")).toThrow("no result named c");
    expect(() => report.ratio("a.vs.b", "a", "b")).toThrow("a is in ms, b in requests/s");
  });

  test("subtracts round by round, and refuses to when the rounds do not match", () => {
    const report = new Report(MACHINE);
    for (const ms of [5, 7]) report.add("cluster", "ms", ms);
    for (const ms of [4, 4]) report.add("embedded", "ms", ms);
    report.difference("added", "cluster", "embedded");
    expect(report.data().results.at(-1)).toMatchObject({ name: "added", value: 2, min: 1, max: 3, runs: 2 });
    report.add("cluster", "ms", 6);
    expect(() => report.difference("again", "cluster", "embedded")).toThrow("differ in unit or rounds");
  });

  test("lets another contestant begin each round", () => {
    expect([0, 1, 2, 3].map((round) => rotated(["a", "b", "c"], round)[0])).toEqual(["a", "b", "c", "a"]);
  });

  test("refuses samples that are no numbers and samples in another unit than before", () => {
    const report = new Report(MACHINE);
    expect(() => report.add("a", "ms", Number.NaN)).toThrow("finite");
    report.add("a", "ms", 1);
    expect(() => report.add("a", "s", 1)).toThrow("measured in ms, not s");
  });
});
