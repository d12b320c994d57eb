import { readOptions } from "./options.ts";

const PEERS = ["flask", "bare"];

describe("benchmark options", () => {
  test("compare with every peer unless told otherwise", () => {
    expect(readOptions([], PEERS)).toEqual({
      json: false,
      quick: false,
      peers: PEERS,
      nets: [],
      rounds: undefined,
    });
  });

  test("take a list of peers, a number of rounds and the switches", () => {
    expect(readOptions(["--json", "--quick", "--only", "bare", "--rounds", "2"], PEERS)).toEqual({
      json: true,
      quick: true,
      peers: ["bare"],
      nets: [],
      rounds: 2,
    });
  });

  test("take a list of networks where there are some", () => {
    expect(readOptions(["--net", "b"], PEERS, ["a", "b"]).nets).toEqual(["b"]);
    expect(readOptions([], PEERS, ["a", "b"]).nets).toEqual(["a", "b"]);
    expect(() => readOptions(["--net", "c"], PEERS, ["a", "b"])).toThrow("no network c; known: a, b");
    expect(() => readOptions(["--net", "a"], PEERS)).toThrow("--net");
  });

  test("refuse an unknown peer, option or number of rounds by name", () => {
    expect(() => readOptions(["--only", "bare,django"], PEERS)).toThrow("no peer django; known: flask, bare");
    expect(() => readOptions(["--fast"], PEERS)).toThrow("--fast");
    expect(() => readOptions(["--rounds", "0"], PEERS)).toThrow("integer from 1 to 1000, got 0");
  });
});
