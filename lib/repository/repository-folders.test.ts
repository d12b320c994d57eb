import { appendFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CancelledError, InvalidModelError, StoreUnavailableError } from "../errors.ts";
import { ModelRegistry } from "../registry/model-registry.ts";
import { openStore } from "../store/open-store.ts";
import type { Store } from "../store/store.ts";
import { RepositoryFolders, type RepositoryFoldersOptions } from "./repository-folders.ts";

let directory: string;
let store: Store;
let registry: ModelRegistry;
let options: RepositoryFoldersOptions;
let folders: RepositoryFolders;
let logged: string[];
/** Fails the next imports, in turn. */
let failures: Error[];
let imported: string[];

const SIGNATURE = {
  inputs: [{ name: "x", datatype: "FP32" as const, shape: [-1, 3] }],
  outputs: [{ name: "y", datatype: "FP32" as const, shape: [-1, 3] }],
};

async function put(path: string, content: string): Promise<void> {
  const file = join(directory, "models", path);
  await mkdir(join(file, ".."), { recursive: true });
  await writeFile(file, content);
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-repository-folders-"));
  await mkdir(join(directory, "models"));
  store = await openStore({ kind: "files", directory: join(directory, "store") });
  registry = new ModelRegistry(store.records, store.artifacts);
  [logged, failures, imported] = [[], [], []];
  options = {
    directories: [join(directory, "models")],
    registry,
    ensembles: {
      prepare: async ({ model, ensemble }) => {
        const onnx = await store.artifacts.put(Buffer.from(JSON.stringify(ensemble)));
        return { model, format: "ensemble", artifacts: { onnx }, signature: SIGNATURE, labels: [] };
      },
    },
    // Takes any text that does not begin with "bad" for a model.
    importModel: async ({ path, publishedDigest }) => {
      imported.push(path.slice(join(directory, "models/").length));
      const failure = failures.shift();
      if (failure) throw failure;
      const bytes = await readFile(path);
      if (bytes.toString().startsWith("bad")) throw new InvalidModelError("file", "it is bad");
      const onnx = await store.artifacts.put(bytes);
      return { onnx, signature: onnx.digest === publishedDigest ? undefined : SIGNATURE };
    },
    log: {
      info: (text) => logged.push(`info ${text}`),
      warn: (text) => logged.push(`warn ${text}`),
      error: (text) => logged.push(`error ${text}`),
    },
  };
  folders = new RepositoryFolders(options);
});

afterEach(async () => {
  await store.close();
  await rm(directory, { recursive: true, force: true });
});

/** Looks until nothing waits. */
async function settle(): Promise<void> {
  for (let look = 0; look < 20; look++) if ((await folders.sync()) === "no") return;
  throw new Error("it never comes to rest");
}

const states = () => folders.states().map(({ model, version, state }) => `${model}/${version} ${state}`);

test("nothing is taken in before two looks have found it the same", async () => {
  await put("m/1/model.onnx", "half of a");
  expect(await folders.sync()).toBe("soon");
  expect(states()).toEqual(["m/1 importing"]);
  await appendFile(join(directory, "models/m/1/model.onnx"), " model");
  expect(await folders.sync()).toBe("soon");
  expect(imported).toEqual([]);
  await settle();
  expect(imported).toEqual(["m/1/model.onnx"]);
  expect(states()).toEqual([]);
  expect((await registry.get("m")).versions).toEqual([1]);
});

test("what lay there at the start counts as settled once a look has found nothing new", async () => {
  await put("m/1/model.onnx", "a");
  await put("broken/1/model.onnx", "bad");
  expect(folders.report().settled).toBe(true);
  for (const published of [[], [1]]) {
    await folders.sync();
    expect(folders.report().settled).toBe(false);
    expect((await registry.list()).flatMap(({ versions }) => versions)).toEqual(published);
  }
  expect(await folders.sync()).toBe("no");
  expect(folders.report().settled).toBe(true);
  await put("m/2/model.onnx", "b");
  await folders.sync();
  expect(folders.report()).toMatchObject({
    settled: true,
    states: [{ state: "failed" }, { state: "importing" }],
  });
});

test("models that were published before are settled from the first look on", async () => {
  await put("m/1/model.onnx", "a");
  await settle();
  const restarted = new RepositoryFolders(options);
  await restarted.sync();
  expect(restarted.report()).toEqual({ settled: true, states: [] });
});

test("what has been taken in, or refused, is looked at again only when it changes", async () => {
  await put("good/1/model.onnx", "a");
  await put("broken/1/model.onnx", "bad");
  await settle();
  expect(imported.sort()).toEqual(["broken/1/model.onnx", "good/1/model.onnx"]);
  await settle();
  expect(imported).toHaveLength(2);
  expect(logged.filter((line) => line.startsWith("error"))).toEqual([
    "error Cannot take in broken version 1: Invalid model at file: it is bad",
  ]);
  await put("broken/1/model.onnx", "mended");
  await settle();
  expect((await registry.get("broken")).versions).toEqual([1]);
  expect(states()).toEqual([]);
});

test("what fails for a reason that may pass is tried again", async () => {
  await put("m/1/model.onnx", "a");
  failures = [new StoreUnavailableError("the disk is full", "put")];
  await folders.sync();
  expect(await folders.sync()).toBe("later");
  expect(folders.states()).toMatchObject([
    { state: "failed", reason: expect.stringContaining("disk is full") },
  ]);
  await settle();
  expect(states()).toEqual([]);
  expect((await registry.get("m")).versions).toEqual([1]);
});

test("a version that is published keeps its file, whatever its folder holds later", async () => {
  await put("m/1/model.onnx", "a");
  await settle();
  const before = await registry.version("m", "1");
  await put("m/1/model.onnx", "b");
  await settle();
  expect(await registry.version("m", "1")).toEqual(before);
  expect(folders.states()).toMatchObject([{ reason: expect.stringContaining("versions never change") }]);
  await put("m/1/model.onnx", "a");
  await settle();
  expect(states()).toEqual([]);
});

test("a configuration that is refused keeps the model out until it is mended", async () => {
  await put("m/1/model.onnx", "a");
  await put("m/config.pbtxt", "sequence_batching { }");
  await settle();
  expect(imported).toEqual([]);
  expect(folders.states()).toMatchObject([
    { version: "1", reason: expect.stringContaining("sequence_batching") },
  ]);
  await put("m/config.pbtxt", "max_batch_size: 4");
  await settle();
  expect((await registry.get("m")).configuration).toEqual({ batching: { maxRows: 4, queueDelayMs: 0 } });
});

test("a configuration that does not fit the versions there are is refused, and the one before stays", async () => {
  await put("m/1/model.onnx", "a");
  await put("m/config.pbtxt", 'max_batch_size: 4 input { name: "x" data_type: TYPE_FP32 dims: 3 }');
  await settle();
  await put("m/config.pbtxt", 'max_batch_size: 8 input { name: "x" data_type: TYPE_FP32 dims: 4 }');
  await settle();
  expect(folders.states()).toMatchObject([{ reason: expect.stringContaining("dims") }]);
  expect((await registry.get("m")).configuration).toMatchObject({ batching: { maxRows: 4 } });
});

test("two configurations are one too many", async () => {
  await put("m/1/model.onnx", "a");
  await put("m/config.pbtxt", "");
  await put("m/config.json", "{}");
  await settle();
  expect(folders.states()).toMatchObject([{ reason: expect.stringContaining("one of them") }]);
});

test("labels come from the file that the configuration names, one a line", async () => {
  await put("m/1/model.onnx", "a");
  await put("m/config.pbtxt", 'output { name: "y" label_filename: "labels.txt" }');
  await put("m/labels.txt", "ant\r\nbee\n\ncat\n");
  await settle();
  expect((await registry.get("m")).configuration?.labels).toEqual(["ant", "bee", "", "cat"]);
  await put("m/labels.txt", "dog");
  await settle();
  expect((await registry.get("m")).configuration?.labels).toEqual(["dog"]);
});

test("a label file that is not there is refused by name", async () => {
  await put("m/1/model.onnx", "a");
  await put("m/config.pbtxt", 'output { name: "y" label_filename: "../secret" }');
  await settle();
  expect(folders.states()).toMatchObject([{ reason: expect.stringContaining("label_filename") }]);
});

test("a folder that goes unloads its model, one that comes back loads it; an unload by name stays", async () => {
  await put("m/1/model.onnx", "a");
  await put("n/1/model.onnx", "a");
  await settle();
  await registry.setLoaded("n", false);
  await rename(join(directory, "models/m"), join(directory, "away"));
  expect(await folders.sync()).toBe("soon");
  expect((await registry.get("m")).unloaded).toBeUndefined();
  await settle();
  expect((await registry.get("m")).unloaded).toBe(true);
  await rename(join(directory, "away"), join(directory, "models/m"));
  await settle();
  expect((await registry.get("m")).unloaded).toBe(false);
  expect((await registry.get("n")).unloaded).toBe(true);
});

test("a directory that cannot be read takes no model out of service", async () => {
  await put("m/1/model.onnx", "a");
  await settle();
  await rename(join(directory, "models"), join(directory, "hidden"));
  for (let look = 0; look < 5; look++) await folders.sync();
  expect((await registry.get("m")).unloaded).toBeUndefined();
  expect(logged.filter((line) => line.startsWith("error"))).toHaveLength(1);
  await rename(join(directory, "hidden"), join(directory, "models"));
  await settle();
  expect(states()).toEqual([]);
});

test("names that cannot be, folders without versions and strange entries hold nothing up", async () => {
  await put("not a name/1/model.onnx", "a");
  await put("empty/README", "nothing here");
  await put("m/1/model.onnx", "a");
  await put("m/01/model.onnx", "a");
  await put("m/latest/model.onnx", "a");
  await put(".git/1/model.onnx", "a");
  await put("README", "a file");
  await settle();
  expect((await registry.list()).map(({ model, versions }) => [model, versions])).toEqual([["m", [1]]]);
  expect(states().sort()).toEqual(["empty/ failed", "not a name/1 failed"]);
});

test("an ensemble is published from Triton's configuration, or from a file of its own", async () => {
  const steps =
    'step { model_name: "a" model_version: -1 input_map { key: "i" value: "x" } output_map { key: "o" value: "y" } }';
  await mkdir(join(directory, "models/both/1"), { recursive: true });
  await put(
    "both/config.pbtxt",
    `platform: "ensemble" max_batch_size: 2 ensemble_scheduling { ${steps} }
     input { name: "x" data_type: TYPE_STRING dims: 1 } output { name: "y" data_type: TYPE_FP32 dims: [ 3 ] }`,
  );
  const own = { inputs: [], outputs: [], steps: [] };
  await put("own/2/ensemble.json", JSON.stringify(own));
  await settle();
  expect(states()).toEqual([]);
  const read = async (model: string, version: string) => {
    const { artifacts, format } = await registry.version(model, version);
    expect(format).toBe("ensemble");
    return JSON.parse(Buffer.from(await store.artifacts.get(artifacts.onnx.digest)).toString());
  };
  expect(await read("own", "2")).toEqual(own);
  expect(await read("both", "1")).toEqual({
    inputs: [{ name: "x", datatype: "BYTES", shape: [-1, 1] }],
    outputs: [{ name: "y", datatype: "FP32", shape: [-1, 3] }],
    steps: [{ name: "step1", model: "a", inputs: { i: "x" }, outputs: { o: "y" } }],
  });
});

test("an ensemble that changes needs a version of its own", async () => {
  const config = (to: string) =>
    `ensemble_scheduling { step { model_name: "${to}" input_map { key: "i" value: "x" } output_map { key: "o" value: "y" } } }
     input { name: "x" data_type: TYPE_FP32 dims: 3 } output { name: "y" data_type: TYPE_FP32 dims: 3 }`;
  await mkdir(join(directory, "models/e/1"), { recursive: true });
  await put("e/config.pbtxt", config("a"));
  await settle();
  await put("e/config.pbtxt", config("b"));
  await settle();
  expect(folders.states()).toMatchObject([
    { version: "1", reason: expect.stringContaining("versions never change") },
  ]);
  await mkdir(join(directory, "models/e/2"));
  await settle();
  expect((await registry.get("e")).versions).toEqual([1, 2]);
});

test("a file that changes while it is read is read again before anything is published", async () => {
  await put("m/1/model.onnx", "a");
  const { importModel } = options;
  let reads = 0;
  const restless = new RepositoryFolders({
    ...options,
    importModel: async (task) => {
      const read = await importModel(task);
      if (++reads === 1) await put("m/1/model.onnx", "b");
      return read;
    },
  });
  for (let look = 0; look < 5; look++) await restless.sync();
  const { artifacts } = await registry.version("m", "1");
  expect(Buffer.from(await store.artifacts.get(artifacts.onnx.digest)).toString()).toBe("b");
  expect(restless.states()).toEqual([]);
});

test("an unload that fails for now is tried again", async () => {
  await put("m/1/model.onnx", "a");
  await settle();
  let isAway = true;
  const setLoaded = registry.setLoaded.bind(registry);
  registry.setLoaded = (model, loaded) =>
    isAway ? Promise.reject(new StoreUnavailableError("put", "away")) : setLoaded(model, loaded);
  await rename(join(directory, "models/m"), join(directory, "away"));
  const looks = [];
  for (let look = 0; look < 4; look++) looks.push(await folders.sync());
  expect(looks).toEqual(["soon", "later", "later", "later"]);
  isAway = false;
  await settle();
  expect((await registry.get("m")).unloaded).toBe(true);
});

test("once stopped it begins nothing further, and what is cancelled is no fault", async () => {
  await put("a/1/model.onnx", "a");
  await put("b/1/model.onnx", "b");
  const stopping: RepositoryFolders = new RepositoryFolders({
    ...options,
    importModel: async () => {
      stopping.stop();
      throw new CancelledError("import");
    },
  });
  await stopping.sync();
  expect(await stopping.sync()).toBe("no");
  expect(await stopping.sync()).toBe("no");
  expect(await registry.list()).toEqual([]);
  expect(logged).toEqual([]);
});

test("of a name in two directories the first counts, and the other is named", async () => {
  await put("m/1/model.onnx", "a");
  await mkdir(join(directory, "more/m/1"), { recursive: true });
  await writeFile(join(directory, "more/m/1/model.onnx"), "b");
  folders = new RepositoryFolders({
    ...options,
    directories: [...options.directories, join(directory, "more")],
  });
  await settle();
  expect(imported).toEqual(["m/1/model.onnx"]);
  expect(folders.states()).toMatchObject([
    { model: "m", version: "", reason: expect.stringContaining("more/m is left out") },
  ]);
});

test.each([
  ["{", "config.json"],
  ['{"batching": {"rows": 3}}', "configuration.batching.rows"],
])("a config.json that cannot be read is refused by name: %s", async (text, field) => {
  await put("m/1/model.onnx", "a");
  await put("m/config.json", text);
  await settle();
  expect(folders.states()).toMatchObject([{ state: "failed", reason: expect.stringContaining(field) }]);
});
