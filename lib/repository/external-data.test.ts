import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type ModelProto, ModelProtoSchema, TensorProto_DataLocation } from "onnx-buf";
import { InvalidModelError } from "../errors.ts";
import { inlineExternalData } from "./external-data.ts";

let directory: string;
let folder: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "moiety-external-"));
  folder = join(directory, "1");
  await mkdir(join(folder, "parts"), { recursive: true });
  await writeFile(
    join(folder, "weights.bin"),
    Uint8Array.from({ length: 16 }, (_, i) => i),
  );
  await writeFile(join(folder, "parts/more.bin"), Uint8Array.of(7, 8, 9));
  await writeFile(join(directory, "secret"), "secret");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const external = (name: string, entries: Record<string, string>) => ({
  name,
  dataType: 2,
  dataLocation: TensorProto_DataLocation.EXTERNAL,
  externalData: Object.entries(entries).map(([key, value]) => ({ key, value })),
});

/** With an initialiser, one inside a branch of a node and one in a function. */
function model(...entries: Record<string, string>[]): ModelProto {
  const [first, branch, inFunction] = entries.map((entry, i) => external(`w${i}`, entry));
  return create(ModelProtoSchema, {
    graph: {
      initializer: [first!],
      node: branch
        ? [{ opType: "If", attribute: [{ name: "then_branch", g: { initializer: [branch] } }] }]
        : [],
    },
    functions: inFunction ? [{ name: "f", node: [{ attribute: [{ name: "value", t: inFunction }] }] }] : [],
  });
}

test("tensors get their bytes wherever they stand, and the model needs no other file", async () => {
  const given = model(
    { location: "weights.bin", offset: "4", length: "3", checksum: "ignored" },
    { location: "parts/more.bin" },
    { location: "./weights.bin", offset: "14" },
  );
  expect(await inlineExternalData(given, folder)).toBe(true);
  const read = fromBinary(ModelProtoSchema, toBinary(ModelProtoSchema, given));
  const tensors = [
    read.graph!.initializer[0]!,
    read.graph!.node[0]!.attribute[0]!.g!.initializer[0]!,
    read.functions[0]!.node[0]!.attribute[0]!.t!,
  ];
  expect(tensors.map(({ rawData }) => [...rawData])).toEqual([
    [4, 5, 6],
    [7, 8, 9],
    [14, 15],
  ]);
  for (const { dataLocation, externalData } of tensors)
    expect([dataLocation, externalData]).toEqual([TensorProto_DataLocation.DEFAULT, []]);
});

test("a model that has none is left as it is", async () => {
  const whole = create(ModelProtoSchema, {
    graph: { initializer: [{ name: "w", rawData: Uint8Array.of(1) }] },
  });
  expect(await inlineExternalData(whole, folder)).toBe(false);
});

test.each([
  [{ location: "../secret" }, "not in the model's own folder"],
  [{ location: "parts/../../secret" }, "not in the model's own folder"],
  [{ location: "/etc/passwd" }, "cannot be read"],
  [{ location: "" }, "not in the model's own folder"],
  [{ location: "missing.bin" }, "ENOENT"],
  [{ location: "parts" }, "cannot be read"],
  [{ location: "weights.bin", offset: "10", length: "7" }, "needs bytes 10 to 17"],
  [{ location: "weights.bin", offset: "17" }, "needs bytes 17 to 17"],
  [{ location: "weights.bin", offset: "-1" }, "no byte count"],
  [{ location: "weights.bin", length: "1e3" }, "no byte count"],
])("what cannot be read is refused by the tensor's name: %j", async (entries, reason) => {
  const refused = inlineExternalData(model(entries as Record<string, string>), folder);
  await expect(refused).rejects.toThrow(InvalidModelError);
  await expect(inlineExternalData(model(entries as Record<string, string>), folder)).rejects.toThrow(reason);
});

test("a link that leads out of the folder is refused", async () => {
  await symlink(join(directory, "secret"), join(folder, "link.bin"));
  await expect(inlineExternalData(model({ location: "link.bin" }), folder)).rejects.toThrow(
    "not in the model's own folder",
  );
});
