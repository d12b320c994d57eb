/** A provider that is not there is replaced by the processor, with the reason; a run says the same either way. */

import * as ort from "onnxruntime-node";
import { chooseProvider, PROVIDERS, sessionProviders } from "./execution-provider.ts";

test("the processor is always there", async () => {
  await expect(chooseProvider("cpu")).resolves.toEqual({ name: "cpu" });
});

test.each(PROVIDERS.filter((name) => name !== "cpu"))(
  "%s is what was asked for, or the processor with a reason",
  async (name) => {
    const chosen = await chooseProvider(name);
    if (chosen.name === name) expect(chosen.reason).toBeUndefined();
    else {
      expect(chosen.name).toBe("cpu");
      expect(chosen.reason).toMatch(/\S/);
    }
  },
);

test("every provider that may be asked for is one of the runtime's", () => {
  const known = ort.listSupportedBackends().map(({ name }) => name);
  expect(PROVIDERS.filter((name) => !known.includes(name))).toEqual([]);
  expect(sessionProviders("cuda")).toEqual(["cuda", "cpu"]);
});
