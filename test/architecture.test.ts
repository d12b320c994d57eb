/**
 * The shape of the code, checked on the source: imports point down, nothing goes in circles, services do not know one
 * another. A folder that is new under lib/ needs a row in the table below; a row names what it may import, types
 * included. The table is the order of the layers, so it must not have circles of its own.
 */

import { globSync, readFileSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Folder (or single file) under lib -> what it may import of lib besides itself and errors.ts. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  "errors.ts": [],
  "product.ts": [],
  // The contract of stores stands apart from the stores themselves: protocols and configuration speak of it.
  "store/store.ts": [],
  "config.ts": ["product.ts", "store/store.ts"],
  tensor: [],
  random: [],
  onnx: ["tensor"],
  autodiff: ["onnx"],
  protocol: ["store/store.ts", "tensor"],
  store: ["protocol", "store/store.ts"],
  nn: ["onnx", "protocol", "random"],
  optim: ["nn", "onnx"],
  data: ["random", "tensor"],
  runtime: ["protocol", "random", "store", "store/store.ts", "tensor"],
  metrics: ["protocol"],
  formats: ["tensor"],
  training: [
    "autodiff",
    "data",
    "formats",
    "nn",
    "onnx",
    "optim",
    "protocol",
    "random",
    "runtime",
    "store",
    "store/store.ts",
    "tensor",
  ],
  conversion: ["data", "nn", "protocol", "runtime", "store", "store/store.ts", "tensor", "training"],
  evaluation: ["data", "metrics", "protocol", "runtime", "store", "store/store.ts", "tensor"],
  registry: ["protocol", "store/store.ts"],
  balance: ["protocol"],
  ensemble: ["onnx", "protocol", "registry", "store/store.ts", "tensor"],
  serving: ["ensemble", "protocol", "runtime", "store/store.ts", "tensor"],
  repository: ["protocol", "registry", "runtime", "serving", "store", "store/store.ts", "tensor"],
  http: [],
  oip: ["http", "protocol", "tensor"],
  grpc: ["http", "product.ts"],
  images: ["http", "oip", "protocol", "tensor"],
  tfserving: ["http", "oip", "protocol", "tensor"],
  openapi: ["http", "protocol", "tensor"],
};

/** Packages that only the outer layers may know. */
const BROKER_PACKAGES = /^moleculer/;

type Import = { from: string; to: string };

const sources = globSync(["lib/**/*.ts", "services/**/*.ts", "mixins/**/*.ts", "cli/**/*.ts", "*.ts"], {
  cwd: ROOT,
})
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => !path.endsWith(".test.ts"))
  .sort();

/** Module specifiers of static, dynamic and re-exporting imports. */
function specifiers(path: string): string[] {
  const text = readFileSync(resolve(ROOT, path), "utf8").replace(/^\s*(\/?\*|\/\/).*$/gm, "");
  return [...text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"/g)].map(([, specifier]) => specifier!);
}

const imports: Import[] = [];
const packages: Import[] = [];
for (const path of sources)
  for (const specifier of specifiers(path))
    if (specifier.startsWith("."))
      imports.push({
        from: path,
        to: relative(ROOT, resolve(ROOT, dirname(path), specifier)).replaceAll("\\", "/"),
      });
    else packages.push({ from: path, to: specifier });

const area = (path: string) => (path.includes("/") ? path.split("/")[0]! : "root");
const libFolder = (path: string) => (path === "lib/store/store.ts" ? "store/store.ts" : path.split("/")[1]!);
const show = ({ from, to }: Import) => `${from} imports ${to}`;
const offending = (wrong: (given: Import) => boolean) => imports.filter(wrong).map(show);

/** The first circle met when `next` is followed from every node, or nothing. */
function circle(nodes: Iterable<string>, next: (node: string) => Iterable<string>): string[] | undefined {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (node: string): string[] | undefined => {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node];
    if (done.has(node)) return undefined;
    path.push(node);
    for (const other of next(node)) {
      const found = visit(other);
      if (found) return found;
    }
    path.pop();
    done.add(node);
    return undefined;
  };
  for (const node of nodes) {
    const found = visit(node);
    if (found) return found;
  }
  return undefined;
}

describe("imports", () => {
  test("are all found: every file that is imported exists", () => {
    const known = new Set(
      globSync("**/*.{ts,json}", { cwd: ROOT, exclude: (name) => name === "node_modules" }).map((path) =>
        path.replaceAll("\\", "/"),
      ),
    );
    expect(imports.length).toBeGreaterThan(100);
    expect(offending(({ to }) => !known.has(to))).toEqual([]);
  });

  test("point down only: lib knows nobody above, mixins know lib, services know mixins and lib", () => {
    const below: Record<string, readonly string[]> = {
      lib: ["lib"],
      mixins: ["mixins", "lib"],
      services: ["services", "mixins", "lib", "root"],
      root: ["mixins", "lib", "root"],
      cli: ["cli", "services", "mixins", "lib", "root", "examples"],
    };
    const packageJson = (to: string) => to === "package.json";
    expect(offending(({ from, to }) => !packageJson(to) && !below[area(from)]!.includes(area(to)))).toEqual(
      [],
    );
  });

  test("lib never meets the broker", () => {
    expect(
      packages.filter(({ from, to }) => area(from) === "lib" && BROKER_PACKAGES.test(to)).map(show),
    ).toEqual([]);
  });

  test("inside lib follow the table of folders", () => {
    const folders = new Set(sources.filter((path) => area(path) === "lib").map(libFolder));
    expect(
      [...folders]
        .filter((folder) => !(folder in ALLOWED))
        .map((folder) => `lib/${folder} has no row in the table`),
    ).toEqual([]);
    expect(
      Object.keys(ALLOWED)
        .filter((folder) => !folders.has(folder))
        .map((folder) => `lib/${folder} is in the table but not there`),
    ).toEqual([]);
    expect(
      offending(({ from, to }) => {
        if (area(from) !== "lib" || area(to) !== "lib") return false;
        const [a, b] = [libFolder(from), libFolder(to)];
        return a !== b && b !== "errors.ts" && !ALLOWED[a]!.includes(b);
      }),
    ).toEqual([]);
  });

  test("the table itself has no circle", () => {
    expect(circle(Object.keys(ALLOWED), (folder) => ALLOWED[folder] ?? [])).toBeUndefined();
  });

  test("never go in a circle from file to file", () => {
    const edges = new Map<string, string[]>();
    for (const { from, to } of imports) edges.set(from, [...(edges.get(from) ?? []), to]);
    expect(circle(sources, (path) => edges.get(path) ?? [])).toBeUndefined();
  });

  test("services never import one another", () => {
    // services/gateway.service.ts and services/gateway/ are one service.
    const service = (path: string) => path.split("/")[1]!.replace(/\.service\.ts$/, "");
    expect(
      offending(
        ({ from, to }) =>
          area(from) === "services" && area(to) === "services" && service(from) !== service(to),
      ),
    ).toEqual([]);
  });
});

describe("files", () => {
  test("that end in .service.ts are services: one schema with a name, directly under services/", () => {
    const services = sources.filter((path) => path.endsWith(".service.ts"));
    expect(services.length).toBeGreaterThan(0);
    expect(services.filter((path) => !/^services\/[a-z]+\.service\.ts$/.test(path))).toEqual([]);
    for (const path of services) {
      const text = readFileSync(resolve(ROOT, path), "utf8");
      expect({ path, exports: /^export default /m.test(text) }).toEqual({ path, exports: true });
      expect({ path, named: /\bname: "[a-z]+"/.test(text) }).toEqual({ path, named: true });
    }
    expect(
      sources.filter((path) => /^services\/[^/]+\.ts$/.test(path) && !path.endsWith(".service.ts")),
    ).toEqual([]);
  });

  test("have a noun for a name", () => {
    expect(sources.filter((path) => /(^|[/-])(utils?|helpers?|misc|common-utils)\.ts$/.test(path))).toEqual(
      [],
    );
  });

  test("begin with what they are", () => {
    const silent = sources.filter((path) => {
      const text = readFileSync(resolve(ROOT, path), "utf8");
      return !text
        .replace(/^#!.*\n/, "")
        .replace(/^import [^;]*;\n+/gm, "")
        .startsWith("/**");
    });
    expect(silent).toEqual([]);
  });
});
