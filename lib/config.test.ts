/** Configuration: defaults, what is accepted, and what stops the start. */

import { isAbsolute, resolve } from "node:path";
import { readConfig, VARIABLES } from "./config.ts";
import { ConfigError } from "./errors.ts";

describe("configuration", () => {
  test("an empty environment gives the defaults: embedded, files, this machine only", () => {
    const config = readConfig({});
    expect(config).toMatchObject({
      mode: "embedded",
      namespace: "moiety",
      store: { kind: "files", directory: resolve("data") },
      http: { host: "127.0.0.1", port: 3000, maxBodyBytes: 16 * 2 ** 20 },
    });
    expect(config.redisUrl).toBeUndefined();
    expect(config.datasetsDirectory).toBeUndefined();
    expect(config.inference.workers).toBeGreaterThanOrEqual(1);
  });

  test("an empty value counts as unset, and other programs' variables do not matter", () => {
    expect(readConfig({ MOIETY_HTTP_PORT: "", PATH: "/bin", MOIETYX: "1" })).toEqual(readConfig({}));
  });

  test("a gRPC port may be a number, or none at all", () => {
    expect(readConfig({}).grpc.port).toBe(8001);
    expect(readConfig({ MOIETY_GRPC_PORT: "0" }).grpc.port).toBe(0);
    expect(readConfig({ MOIETY_GRPC_PORT: "off" }).grpc.port).toBeUndefined();
    expect(readConfig({ MOIETY_GRPC_PORT: "" }).grpc.port).toBeUndefined();
  });

  test("files of TLS belong together", () => {
    const [MOIETY_TLS_CERT, MOIETY_TLS_KEY, MOIETY_TLS_CLIENT_CA] = ["/c.pem", "/k.pem", "/a.pem"];
    expect(readConfig({}).tls).toBeUndefined();
    expect(readConfig({ MOIETY_TLS_CERT, MOIETY_TLS_KEY }).tls).toEqual({
      certificate: "/c.pem",
      key: "/k.pem",
      clientAuthority: undefined,
    });
    expect(readConfig({ MOIETY_TLS_CERT, MOIETY_TLS_KEY, MOIETY_TLS_CLIENT_CA }).tls).toMatchObject({
      clientAuthority: "/a.pem",
    });
    expect(() => readConfig({ MOIETY_TLS_CERT })).toThrow(/MOIETY_TLS_KEY="".*MOIETY_TLS_CERT is set/);
    expect(() => readConfig({ MOIETY_TLS_KEY })).toThrow(/MOIETY_TLS_CERT=""/);
    expect(() => readConfig({ MOIETY_TLS_CLIENT_CA })).toThrow(/MOIETY_TLS_CERT=""/);
  });

  test("values are parsed to what they mean", () => {
    const config = readConfig({
      MOIETY_HTTP_PORT: "0",
      MOIETY_DATA_DIR: "some/where",
      MOIETY_DATASETS_DIR: "/sets",
      MOIETY_DATASETS_MEMORY_BYTES: "4096",
      MOIETY_CACHE_MAX_BYTES: "0",
      MOIETY_REDIS_URL: "rediss://cache:6380/2",
      MOIETY_LOG_LEVEL: "debug",
    });
    expect(config.http.port).toBe(0);
    expect(config.store).toEqual({ kind: "files", directory: resolve("some/where") });
    expect(isAbsolute(resolve("some/where"))).toBe(true);
    expect(config.datasetsDirectory).toBe(resolve("/sets"));
    expect(config.datasetsMemoryBytes).toBe(4096);
    expect(config.cache.maxBytes).toBe(0);
    expect(config.redisUrl).toBe("rediss://cache:6380/2");
    expect(config.logLevel).toBe("debug");
  });

  test("a cluster keeps its state in JetStream, under its namespace", () => {
    const config = readConfig({
      MOIETY_MODE: "cluster",
      MOIETY_NAMESPACE: "blue",
      MOIETY_NATS_URL: "nats://n:4222",
    });
    expect(config.store).toEqual({ kind: "jetstream", url: "nats://n:4222", bucket: "blue" });
  });

  test("it is frozen throughout", () => {
    const config = readConfig({});
    for (const part of [config, config.http, config.inference, config.cache, config.trainer, config.store])
      expect(Object.isFrozen(part)).toBe(true);
  });

  test.each([
    ["MOIETY_MODE", "standalone", "one of embedded, cluster"],
    ["MOIETY_NAMESPACE", "Blue Team", "1 to 32 of a-z, 0-9 and -"],
    ["MOIETY_NODE_ID", "a b", "1 to 100 of letters, digits, _ . -"],
    ["MOIETY_NATS_URL", "localhost:4222", "a URL that begins with nats:// or tls://"],
    ["MOIETY_NATS_URL", "http://localhost", "a URL that begins with nats:// or tls://"],
    ["MOIETY_REDIS_URL", "not a url", "a URL that begins with redis:// or rediss://"],
    ["MOIETY_DATA_DIR", "   ", "a directory path"],
    ["MOIETY_DATASETS_DIR", "a\0b", "a directory path"],
    ["MOIETY_HTTP_HOST", "a host", "a host name or address"],
    ["MOIETY_HTTP_PORT", "70000", "an integer from 0 to 65535"],
    ["MOIETY_GRPC_PORT", "70000", "an integer from 0 to 65535, or off"],
    ["MOIETY_HTTP_PORT", "-1", "an integer from 0 to 65535"],
    ["MOIETY_HTTP_PORT", "80.5", "an integer from 0 to 65535"],
    ["MOIETY_HTTP_PORT", "http", "an integer from 0 to 65535"],
    ["MOIETY_HTTP_PORT", " ", "an integer from 0 to 65535"],
    ["MOIETY_HTTP_PORT", "Infinity", "an integer from 0 to 65535"],
    ["MOIETY_LOG_LEVEL", "verbose", "one of fatal, error, warn, info, debug, trace"],
    ["MOIETY_INFERENCE_WORKERS", "0", "an integer from 1 to 256"],
  ])("%s=%j stops the start, naming variable, value and what is allowed", (variable, value, expected) => {
    const start = () => readConfig({ [variable]: value });
    expect(start).toThrow(ConfigError);
    expect(start).toThrow(`${variable}=${JSON.stringify(value)} is not valid: expected ${expected}`);
  });

  test("every number has bounds: one below and one above are refused, the bounds are not", () => {
    for (const [name, variable] of Object.entries(VARIABLES).filter(
      ([, v]) => typeof v.default === "number",
    )) {
      let allowed = "";
      try {
        readConfig({ [name]: "nonsense" });
      } catch (error) {
        allowed = String((error as ConfigError).data.expected);
      }
      const [, min, max] = /^an integer from (\d+) to (\d+)(?:, or off)?$/.exec(allowed)!.map(Number) as [
        number,
        number,
        number,
      ];
      for (const value of [min, max, variable.default])
        expect(() => readConfig({ [name]: String(value) })).not.toThrow();
      for (const value of [min - 1, max + 1])
        expect(() => readConfig({ [name]: String(value) })).toThrow(ConfigError);
    }
  });

  test("a misspelt variable is refused with the known ones", () => {
    expect(() => readConfig({ MOIETY_HTTP_PROT: "80" })).toThrow(ConfigError);
    expect(() => readConfig({ MOIETY_HTTP_PROT: "80" })).toThrow("no such variable; known: MOIETY_MODE");
    expect(() => readConfig({ MOIETY_HTTP_PROT: undefined })).toThrow(ConfigError);
  });

  test("the description of every variable says something", () => {
    for (const { description } of Object.values(VARIABLES)) expect(description.length).toBeGreaterThan(10);
  });
});
