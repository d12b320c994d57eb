/** Words that older dialects mean otherwise. */

import { inKeras3 } from "./older-dialects.ts";

const layer = (config: unknown) => ({ class_name: "LSTM", config });
const model = (keras_version: string | undefined, ...layers: unknown[]) => ({
  class_name: "Sequential",
  config: { name: "hard_sigmoid", layers },
  keras_version,
});

describe("architectures of older dialects", () => {
  const hard = layer({ activation: "hard_sigmoid", recurrent_activation: "hardSigmoid", units: 3 });
  const told = layer({
    activation: "keras2_hard_sigmoid",
    recurrent_activation: "keras2_hard_sigmoid",
    units: 3,
  });

  test.each(["2.15.0", "1.2.2", "tfjs-layers 4.22.0"])(
    "of %s have a hard sigmoid of their own",
    (version) => {
      expect(inKeras3(model(version, hard, layer({ activation: "relu" })))).toEqual(
        model(version, told, layer({ activation: "relu" })),
      );
      const nested = (inner: unknown) =>
        model(version, { class_name: "Sequential", config: { layers: [inner] } });
      expect(inKeras3(nested(hard))).toEqual(nested(told));
    },
  );

  test.each([undefined, "3.15.0"])("of Keras 3 (%s) stay as they are", (version) => {
    const given = model(version, hard);
    expect(inKeras3(given)).toBe(given);
  });

  test("what is no architecture stays for the reader to refuse", () => {
    for (const value of [undefined, null, 3, "text", [], {}]) expect(inKeras3(value)).toBe(value);
  });
});
