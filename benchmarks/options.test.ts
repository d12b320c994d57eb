import { readOptions } from "./options.ts";

const PEERS = ["flask", "bare"];
const SERVING = { peers: PEERS, paths: ["json", "grpc"] };

describe("benchmark options", () => {
  test("compare with every peer unless told otherwise", () => {
    expect(readOptions([], { peers: PEERS })).toEqual({
      json: false,
      quick: false,
      peers: PEERS,
      nets: [],
      paths: [],
      connections: undefined,
      rounds: undefined,
      seconds: undefined,
    });
  });

  test("take a list of peers, a number of rounds and the switches", () => {
    expect(
      readOptions(["--json", "--quick", "--peers", "bare", "--rounds", "2"], { peers: PEERS }),
    ).toMatchObject({ json: true, quick: true, peers: ["bare"], rounds: 2 });
  });

  test("take a list of networks where there are some", () => {
    const choices = { peers: PEERS, nets: ["a", "b"] };
    expect(readOptions(["--net", "b"], choices).nets).toEqual(["b"]);
    expect(readOptions([], choices).nets).toEqual(["a", "b"]);
    expect(() => readOptions(["--net", "c"], choices)).toThrow("no network c; known: a, b");
    expect(() => readOptions(["--net", "a"], { peers: PEERS })).toThrow("--net");
  });

  test("take lists of paths and connections, and seconds, where there are paths", () => {
    expect(
      readOptions(["--paths", "grpc", "--connections", "1,64", "--seconds", "2"], SERVING),
    ).toMatchObject({ paths: ["grpc"], connections: [1, 64], seconds: 2 });
    expect(() => readOptions(["--paths", "http"], SERVING)).toThrow("no path http; known: json, grpc");
    expect(() => readOptions(["--connections", "1,x"], SERVING)).toThrow("integer from 1 to 1000, got x");
    expect(() => readOptions(["--seconds", "2"], { peers: PEERS })).toThrow("--seconds");
  });

  test("refuse an unknown peer, option or number of rounds by name", () => {
    expect(() => readOptions(["--peers", "bare,django"], { peers: PEERS })).toThrow(
      "no peer django; known: flask, bare",
    );
    expect(() => readOptions(["--fast"], { peers: PEERS })).toThrow("--fast");
    expect(() => readOptions(["--rounds", "0"], { peers: PEERS })).toThrow("integer from 1 to 1000, got 0");
  });
});
