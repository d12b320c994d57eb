/** docs/reference.md against the code: every variable, error, metric and action, and no other. */

import { readdirSync, readFileSync } from "node:fs";
import { VARIABLES } from "../lib/config.ts";
import { OPERATORS } from "../lib/ensemble/operators/table.ts";
import { readEnsemble } from "../lib/ensemble/read-ensemble.ts";
import { ACTIVATIONS } from "../lib/nn/activations/table.ts";
import { CONSTRAINTS } from "../lib/nn/constraints.ts";
import { LAYERS } from "../lib/nn/layers/table.ts";
import { LOSSES } from "../lib/nn/losses/table.ts";
import { REGULARIZERS } from "../lib/nn/regularizers.ts";
import { SCHEDULES } from "../lib/optim/schedules/table.ts";
import { OPTIMIZERS } from "../lib/optim/table.ts";
import { METRICS } from "../lib/protocol/metrics.ts";
import { TRITON_METRICS } from "../lib/protocol/triton-metrics.ts";
import { CALLBACKS } from "../lib/training/callbacks/table.ts";
import { TFJS_LAYERS } from "../lib/training/tfjs/layers.ts";
import { TFJS_LOSSES } from "../lib/training/tfjs/losses.ts";
import { TFJS_OPTIMIZERS } from "../lib/training/tfjs/optimizers.ts";

const source = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8");
const REFERENCE = source("../docs/reference.md");

/** The rows of the first table under a heading, cells without their back-quotes. */
function table(heading: string): string[][] {
  const section = REFERENCE.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  if (!section) throw new Error(`docs/reference.md has no section "${heading}"`);
  const rows = section.split("\n").filter((line) => line.startsWith("|"));
  const end = rows.findIndex((row, i) => i > 0 && /^\|[-|: ]+\|$/.test(row));
  return rows.slice(end + 1).map((row) =>
    row
      .slice(1, -1)
      .split(/(?<!\\)\|/)
      .map((cell) => cell.trim()),
  );
}

const plain = (cell: string | undefined) => (cell ?? "").replace(/^`(.*)`$/, "$1");
const names = (heading: string) => table(heading).map(([name]) => plain(name));

/** Error classes as lib/errors.ts declares them. */
const errors = [
  ...source("../lib/errors.ts").matchAll(/^export class \w+ extends MoietyError \{\n(.*?)\n\}/gms),
].map(([, body]) => ({
  type: /readonly type = "(\w+)"/.exec(body!)![1]!,
  code: /readonly code = (\d+)/.exec(body!)![1]!,
  retryable: /retryable = true/.test(body!) ? "yes" : "no",
}));

describe("the reference", () => {
  test("lists every environment variable with its meaning, and no other", () => {
    expect(names("Environment variables")).toEqual(Object.keys(VARIABLES));
    for (const [name, , meaning] of table("Environment variables"))
      expect({ name, meaning }).toEqual({
        name,
        meaning: VARIABLES[plain(name) as keyof typeof VARIABLES].description,
      });
  });

  test("lists every default that does not depend on the machine", () => {
    const machine = new Set([
      "MOIETY_DATA_DIR",
      "MOIETY_NODE_ID",
      "MOIETY_INFERENCE_WORKERS",
      "MOIETY_TRAINER_THREADS",
    ]);
    for (const [name, fallback] of table("Environment variables")) {
      const variable = plain(name) as keyof typeof VARIABLES;
      if (machine.has(variable)) continue;
      expect({ variable, fallback }).toEqual({
        variable,
        fallback: VARIABLES[variable].default === "" ? "none" : `\`${VARIABLES[variable].default}\``,
      });
    }
  });

  test("lists every error with its code and whether to retry, and no other", () => {
    expect(errors.length).toBeGreaterThan(30);
    expect(new Set(errors.map(({ type }) => type)).size).toBe(errors.length);
    const listed = table("Errors").map(([type, code, retryable]) => ({ type: plain(type), code, retryable }));
    expect(listed).toEqual(errors);
    for (const [, , , meaning] of table("Errors")) expect(meaning).not.toBe("");
  });

  test("lists every metric with type, labels and unit, and no other", () => {
    expect(names("Metrics")).toEqual(Object.keys(METRICS));
    for (const [name, type, labels, unit, meaning] of table("Metrics")) {
      const metric = METRICS[plain(name) as keyof typeof METRICS];
      expect({ name, type, labels, unit, meaning }).toEqual({
        name,
        type: metric.type,
        labels: metric.labels.map((label) => `\`${label}\``).join(", ") || "none",
        unit: "unit" in metric ? metric.unit : "",
        meaning: metric.description,
      });
    }
  });

  test("lists every metric that has one of Triton's names, and no other", () => {
    const rows = table("Metrics under Triton's names").map(([name, type, labels]) => [
      plain(name),
      type,
      labels,
    ]);
    expect(rows).toEqual(
      Object.entries(TRITON_METRICS).map(([name, { type, labels }]) => [
        name,
        type,
        labels.map((label) => `\`${label}\``).join(", ") || "none",
      ]),
    );
  });

  test("lists every operator of ensembles, and no other", () => {
    const listed = table("Ensembles").flatMap(([operators]) => operators!.split(", ").map(plain));
    expect(listed.sort()).toEqual(Object.keys(OPERATORS).sort());
  });

  test("shows an ensemble that can be read", () => {
    const [, , section] = REFERENCE.split(/^(## Ensembles)$/m);
    const [, example] = /```json\n(.*?)```/s.exec(section!)!;
    expect(readEnsemble(JSON.parse(example!)).steps).toHaveLength(4);
  });

  test("lists every action, and no other", () => {
    const declared = [...source("../lib/protocol/actions.ts").matchAll(/^ {2}"([a-z]+\.[A-Za-z]+)": /gm)].map(
      ([, name]) => name,
    );
    expect(declared.length).toBeGreaterThan(10);
    expect(names("Actions")).toEqual(declared);
  });

  test("lists every HTTP route, and no other", () => {
    const found = readdirSync(new URL("../services/gateway", import.meta.url))
      .filter((file) => file.endsWith("-routes.ts"))
      .flatMap((file) => [
        ...source(`../services/gateway/${file}`).matchAll(/method: "(\w+)",\s*path: "([^"]+)"/g),
      ])
      // A colon that begins no parameter is escaped in the source.
      .map(([, method, path]) => `${method} ${path!.replaceAll("\\\\:", ":")}`);
    expect(found.length).toBeGreaterThan(20);
    expect(names("HTTP").sort()).toEqual(found.sort());
  });

  test("names every optimiser and learning-rate schedule", () => {
    for (const name of [...Object.keys(OPTIMIZERS), ...Object.keys(SCHEDULES)])
      expect(REFERENCE).toContain(`\`${name}\``);
  });

  test("names every callback", () => {
    for (const callback of Object.keys(CALLBACKS)) expect(REFERENCE).toContain(`\`${callback}\``);
  });

  test("names every loss", () => {
    for (const loss of Object.keys(LOSSES)) expect(REFERENCE).toContain(`\`${loss}\``);
  });

  test("names every activation", () => {
    for (const activation of Object.keys(ACTIVATIONS)) expect(REFERENCE).toContain(`\`${activation}\``);
  });

  test("names every regulariser and constraint", () => {
    for (const name of [...Object.keys(REGULARIZERS), ...Object.keys(CONSTRAINTS)])
      expect(REFERENCE).toContain(`\`${name}\``);
  });

  test("names every layer", () => {
    for (const layer of Object.keys(LAYERS)) expect(REFERENCE).toContain(`\`${layer}\``);
  });

  test("lists what the engine tfjs has, and nothing that it has not", () => {
    const paragraph = /^Engine `tfjs`: .*?\n\n/ms.exec(REFERENCE)![0];
    const listed = [...paragraph.matchAll(/`([\w]+)`/g)].map(([, name]) => name!);
    const options = ["tfjs", "valid", "center", "scale"];
    // Two names of one loss: the shorter is listed.
    const losses = Object.keys(TFJS_LOSSES).filter((name) => !/^mean_/.test(name));
    const known = [...Object.keys(TFJS_LAYERS), ...losses, ...Object.keys(TFJS_OPTIMIZERS)];
    expect(listed.filter((name) => !options.includes(name)).toSorted()).toEqual(known.toSorted());
  });
});
