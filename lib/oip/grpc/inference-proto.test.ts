/** Our .proto file against what Triton's own client speaks: every method, field and value of an enum that we have, it has too. */

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loadSync } from "@grpc/proto-loader";

type Field = { name: string; number: number; label: string; type: string; typeName: string };
type Enum = { name: string; value: { name: string; number: number }[] };
type Message = {
  name: string;
  field: Field[];
  nestedType: Message[];
  enumType: Enum[];
  options: { mapEntry?: boolean } | null;
};
type Loaded = { format: string; type: Message & Enum };
type Method = { originalName: string; path: string; requestStream: boolean; responseStream: boolean };

/** Of tritonclient 2.73; its generator lies beside it. */
const TRITON = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/triton/grpc-fields.json", import.meta.url), "utf8"),
) as {
  methods: Record<
    string,
    [request: string, response: string, requestStream: boolean, responseStream: boolean]
  >;
  messages: Record<string, Record<string, [number: number, label: string, type: string]>>;
  enums: Record<string, Record<string, number>>;
};

const { "inference.GRPCInferenceService": service, ...types } = loadSync(
  fileURLToPath(new URL("./inference.proto", import.meta.url)),
  { keepCase: true },
) as unknown as Record<string, Loaded> & { "inference.GRPCInferenceService": Record<string, Method> };

/** As protoc names the entries of a map; protobufjs names them as the field. */
const entryName = (field: string) =>
  `${field
    .split("_")
    .map((word) => word[0]!.toUpperCase() + word.slice(1))
    .join("")}Entry`;

const messages: [fullName: string, Message][] = [];
const enums: [fullName: string, Enum][] = [];
function walk(fullName: string, message: Message): void {
  messages.push([fullName, message]);
  for (const nested of message.nestedType)
    walk(`${fullName}.${nested.options?.mapEntry ? entryName(nested.name) : nested.name}`, nested);
  for (const nested of message.enumType) enums.push([`${fullName}.${nested.name}`, nested]);
}
for (const [fullName, { format, type }] of Object.entries(types))
  if (format.includes("EnumDescriptor")) enums.push([fullName, type]);
  else walk(fullName, type);

const lastName = (fullName: string) => fullName.split(".").at(-1)!;
/** KServe's definition has it, Triton's has not. */
const PROPERTIES = /^inference\.ModelMetadataResponse\.Properties/;

test("the file is read whole", () => {
  expect(messages.length).toBeGreaterThan(50);
  expect(enums.map(([name]) => name)).toEqual(
    expect.arrayContaining(["inference.DataType", "inference.ModelInstanceGroup.Kind"]),
  );
});

test.each(Object.values(service).map((method) => [method.path, method] as const))("%s", (path, method) => {
  const [, , requestStream, responseStream] = TRITON.methods[path.split("/").at(-1)!]!;
  expect([method.requestStream, method.responseStream]).toEqual([requestStream, responseStream]);
});

test.each(messages.filter(([name]) => !PROPERTIES.test(name)))("message %s", (name, { field }) => {
  const theirs = TRITON.messages[name]!;
  for (const { name: own, number, label, type, typeName } of field) {
    if (own === "properties") continue;
    const [theirNumber, theirLabel, theirType] = theirs[own]!;
    expect([own, number, label === "LABEL_REPEATED" ? "repeated" : "single"]).toEqual([
      own,
      theirNumber,
      theirLabel,
    ]);
    if (typeName === "") expect([own, type]).toEqual([own, theirType]);
    else {
      const isEntry = theirType.endsWith("Entry");
      expect([own, isEntry ? entryName(lastName(typeName)) : lastName(typeName)]).toEqual([
        own,
        lastName(theirType),
      ]);
    }
  }
});

test.each(enums)("enum %s", (name, { value }) => {
  const own = Object.fromEntries(value.map((item) => [item.name, item.number]));
  expect(TRITON.enums[name]).toMatchObject(own);
});
