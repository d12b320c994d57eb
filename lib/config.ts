/**
 * Configuration: environment variables in, one frozen, validated object out. The table below is the whole of it;
 * a bad value stops the start, naming the variable, the value and what is allowed. Unknown `MOIETY_*` variables
 * are refused too: a misspelt one would otherwise be ignored in silence.
 */

import { availableParallelism } from "node:os";
import { delimiter, resolve } from "node:path";
import { ConfigError } from "./errors.ts";
import { PRODUCT } from "./product.ts";
import type { StoreLocation } from "./store/store.ts";

type Parse<T> = (value: string, variable: string) => T;
type Variable<T> = {
  default: T;
  parse: Parse<T>;
  description: string;
  /** Whether the empty string is a value of its own, and not the default. */
  readsEmpty?: true;
};

const integer =
  (min: number, max: number): Parse<number> =>
  (value, variable) => {
    const parsed = Number(value);
    if (value.trim() === "" || !Number.isInteger(parsed) || parsed < min || parsed > max)
      throw new ConfigError(variable, value, `an integer from ${min} to ${max}`);
    return parsed;
  };

/** A port; undefined for none. */
const portOrOff: Parse<number | undefined> = (value, variable) => {
  if (value === "" || value === "off") return undefined;
  try {
    return integer(0, 65535)(value, variable);
  } catch {
    throw new ConfigError(variable, value, "an integer from 0 to 65535, or off");
  }
};

const oneOf =
  <T extends string>(...allowed: readonly T[]): Parse<T> =>
  (value, variable) => {
    if (!(allowed as readonly string[]).includes(value))
      throw new ConfigError(variable, value, `one of ${allowed.join(", ")}`);
    return value as T;
  };

const matching =
  (pattern: RegExp, expected: string): Parse<string> =>
  (value, variable) => {
    if (!pattern.test(value)) throw new ConfigError(variable, value, expected);
    return value;
  };

const url =
  (...protocols: readonly string[]): Parse<string> =>
  (value, variable) => {
    if (!URL.canParse(value) || !protocols.includes(new URL(value).protocol))
      throw new ConfigError(
        variable,
        value,
        `a URL that begins with ${protocols.map((p) => `${p}//`).join(" or ")}`,
      );
    return value;
  };

const path: Parse<string> = (value, variable) => {
  if (value.trim() === "" || value.includes("\0")) throw new ConfigError(variable, value, "a directory path");
  return resolve(value);
};

/** Directories, separated as in PATH. */
const paths: Parse<string> = (value, variable) =>
  value
    .split(delimiter)
    .map((part) => path(part, variable))
    .join(delimiter);

/** Every variable, its default, and what it means. `docs/reference.md` repeats it; a test compares. */
export const VARIABLES = {
  MOIETY_MODE: {
    default: "embedded",
    parse: oneOf("embedded", "cluster"),
    description: "`embedded`: one process, files. `cluster`: nodes find each other through NATS",
  },
  MOIETY_NAMESPACE: {
    default: "moiety",
    parse: matching(/^[a-z0-9-]{1,32}$/, "1 to 32 of a-z, 0-9 and -"),
    description: "Keeps clusters on one NATS server apart",
  },
  MOIETY_NODE_ID: {
    default: "",
    parse: matching(/^[\w.-]{1,100}$/, "1 to 100 of letters, digits, _ . -"),
    description: "Name of this node; by default host name and process id",
  },
  MOIETY_NATS_URL: {
    default: "nats://127.0.0.1:4222",
    parse: url("nats:", "tls:"),
    description: "NATS server with JetStream (cluster mode)",
  },
  MOIETY_REDIS_URL: {
    default: "",
    parse: url("redis:", "rediss:"),
    description: "Redis server for the shared prediction cache; empty: each process caches for itself",
  },
  MOIETY_DATA_DIR: {
    default: resolve("data"),
    parse: path,
    description: "Where models, checkpoints and jobs are kept (embedded mode)",
  },
  MOIETY_DATASETS_DIR: {
    default: "",
    parse: path,
    description: "Folder of further data sets, each a folder of IDX files or of columns",
  },
  MOIETY_DATASETS_MEMORY_BYTES: {
    default: 2 ** 30,
    parse: integer(0, 2 ** 40),
    description: "How much of a data set is kept in memory, in bytes; the rest is read as it is used",
  },
  MOIETY_MODEL_REPOSITORY: {
    default: "",
    parse: paths,
    description:
      "Folders of models, `name/version/model.onnx`, separated by `:`; the registry's node reads them",
  },
  MOIETY_MODEL_REPOSITORY_POLL_SECONDS: {
    default: 5,
    parse: integer(0, 86_400),
    description: "How often model folders are looked at, in seconds; 0: only at the start",
  },
  MOIETY_HTTP_HOST: {
    default: "127.0.0.1",
    parse: matching(/^[\w.:-]+$/, "a host name or address"),
    description: "Address the gateway listens on",
  },
  MOIETY_HTTP_PORT: {
    default: 3000,
    parse: integer(0, 65535),
    description: "Port the gateway listens on; 0 picks a free one",
  },
  MOIETY_GRPC_PORT: {
    default: 8001,
    parse: portOrOff,
    readsEmpty: true,
    description: "Port the gateway speaks gRPC on; 0 picks a free one, `off` or empty: no gRPC",
  },
  MOIETY_HTTP_MAX_BODY_BYTES: {
    default: 16 * 2 ** 20,
    parse: integer(1024, 2 ** 30),
    description: "Largest accepted request body or gRPC message, in bytes",
  },
  MOIETY_TLS_CERT: {
    default: "",
    parse: path,
    description:
      "PEM file of the gateway's certificate and its chain: HTTPS and gRPC over TLS; empty: neither",
  },
  MOIETY_TLS_KEY: {
    default: "",
    parse: path,
    description: "PEM file of the private key of `MOIETY_TLS_CERT`",
  },
  MOIETY_TLS_CLIENT_CA: {
    default: "",
    parse: path,
    description: "PEM file of who vouches for clients, which then need a certificate; empty: they need none",
  },
  MOIETY_SERVER_NAME: {
    default: PRODUCT.name,
    parse: matching(/^[\x20-\x7e]{1,100}$/, "1 to 100 printable ASCII characters"),
    description: "What the server calls itself in its metadata; some clients check it",
  },
  MOIETY_SERVER_VERSION: {
    default: "",
    parse: matching(/^[\x20-\x7e]{1,100}$/, "1 to 100 printable ASCII characters"),
    description: "The version the server states in its metadata; empty: its own",
  },
  MOIETY_METRICS_PORT: {
    default: 0,
    parse: integer(0, 65535),
    description: "Port for this node's own Prometheus page; 0: only the gateway's /metrics",
  },
  MOIETY_STRICT_READINESS: {
    default: "off",
    parse: oneOf("on", "off"),
    description:
      "`on`: a node is ready only while every model answers; `off`: while one does, once all have been tried",
  },
  MOIETY_TRITON_METRICS: {
    default: "off",
    parse: oneOf("on", "off"),
    description: "`on`: metrics under Triton's names (`nv_inference_*`) too",
  },
  MOIETY_ACCESS_LOG: {
    default: "",
    parse: (value, variable) => (value === "-" ? value : path(value, variable)),
    description:
      "File of the gateway's access log, a line of JSON per request; `-`: standard output; empty: none",
  },
  MOIETY_LOG_LEVEL: {
    default: "warn",
    parse: oneOf("fatal", "error", "warn", "info", "debug", "trace"),
    description: "Least severe log level that is printed",
  },
  MOIETY_INFERENCE_WORKERS: {
    default: Math.max(1, availableParallelism() - 1),
    parse: integer(1, 256),
    description: "Inference worker threads per node; by default one less than the cores",
  },
  MOIETY_INFERENCE_ISOLATION: {
    default: "thread",
    parse: oneOf("thread", "process"),
    description:
      "What an inference worker is; a native abort ends a `thread` with its node, a `process` alone",
  },
  MOIETY_INFERENCE_MAX_BATCH: {
    default: 32,
    parse: integer(1, 4096),
    description: "Most rows in one executed batch",
  },
  MOIETY_INFERENCE_QUEUE_DELAY_MS: {
    default: 1,
    parse: integer(0, 1000),
    description: "Longest wait for a batch to fill, in ms",
  },
  MOIETY_INFERENCE_MAX_QUEUE: {
    default: 1024,
    parse: integer(1, 1_000_000),
    description: "Most requests waiting per model; further ones are answered 503",
  },
  MOIETY_INFERENCE_TIMEOUT_MS: {
    default: 5000,
    parse: integer(10, 600_000),
    description: "Deadline of a prediction, in ms",
  },
  MOIETY_CACHE_MAX_BYTES: {
    default: 64 * 2 ** 20,
    parse: integer(0, 2 ** 40),
    description: "Size of the in-process prediction cache, in bytes; 0 turns caching off",
  },
  MOIETY_CACHE_TTL_SECONDS: {
    default: 300,
    parse: integer(1, 31_536_000),
    description: "How long a cached prediction lives, in seconds",
  },
  MOIETY_TRAINER_CONCURRENCY: {
    default: 1,
    parse: integer(1, 64),
    description: "Training jobs one trainer runs at a time",
  },
  MOIETY_TRAINER_MAX_QUEUED: {
    default: 100,
    parse: integer(1, 100_000),
    description: "Most jobs waiting; further ones are answered 503",
  },
  MOIETY_TRAINER_THREADS: {
    default: availableParallelism(),
    parse: integer(1, 1024),
    description: "Threads one training step may use; by default all cores",
  },
  MOIETY_EXECUTION_PROVIDER: {
    default: "cpu",
    parse: oneOf("cpu", "cuda", "webgpu"),
    description:
      "Where ONNX Runtime trains: `cpu`, `cuda`, `webgpu`; one that is not there: `cpu`, with a warning",
  },
} as const satisfies Record<string, Variable<string> | Variable<number> | Variable<number | undefined>>;

type Values = { [K in keyof typeof VARIABLES]: ReturnType<(typeof VARIABLES)[K]["parse"]> };

export type Config = Readonly<{
  mode: "embedded" | "cluster";
  namespace: string;
  nodeID: string;
  natsUrl: string;
  /** Undefined without Redis. */
  redisUrl: string | undefined;
  store: StoreLocation;
  /** Undefined when only the built-in data sets are known. */
  datasetsDirectory: string | undefined;
  datasetsMemoryBytes: number;
  /** Folders of models; none: only what is published otherwise. */
  modelRepository: Readonly<{ directories: readonly string[]; pollSeconds: number }>;
  http: Readonly<{ host: string; port: number; maxBodyBytes: number }>;
  /** On the host of `http`. Undefined: none is spoken. */
  grpc: Readonly<{ port: number | undefined }>;
  /** Files in PEM; undefined: no TLS. */
  tls: Readonly<{ certificate: string; key: string; clientAuthority: string | undefined }> | undefined;
  /** What the server says it is. */
  server: Readonly<{ name: string; version: string }>;
  metricsPort: number;
  /** Whether a node is ready only while every model is. */
  strictReadiness: boolean;
  /** Whether metrics are printed under Triton's names too. */
  tritonMetrics: boolean;
  /** A file, or "-"; undefined: no access log. */
  accessLog: string | undefined;
  logLevel: string;
  inference: Readonly<{
    workers: number;
    /** What a worker is. */
    isolation: "thread" | "process";
    maxBatchRows: number;
    queueDelayMs: number;
    maxQueue: number;
    timeoutMs: number;
  }>;
  cache: Readonly<{ maxBytes: number; ttlSeconds: number }>;
  trainer: Readonly<{
    concurrency: number;
    maxQueued: number;
    threads: number;
    /** Where ONNX Runtime trains, if it can. */
    executionProvider: "cpu" | "cuda" | "webgpu";
  }>;
}>;

/** @throws {ConfigError} where one of the files is set and another that belongs to it is not */
function tlsOf(values: Values): Config["tls"] {
  const { MOIETY_TLS_CERT: certificate, MOIETY_TLS_KEY: key, MOIETY_TLS_CLIENT_CA: clientAuthority } = values;
  if (certificate === "" && key === "" && clientAuthority === "") return undefined;
  if (certificate === "")
    throw new ConfigError("MOIETY_TLS_CERT", "", "a PEM file, as another file of TLS is set");
  if (key === "") throw new ConfigError("MOIETY_TLS_KEY", "", "a PEM file, as MOIETY_TLS_CERT is set");
  return Object.freeze({ certificate, key, clientAuthority: clientAuthority || undefined });
}

/**
 * Reads and validates the environment.
 * @throws {ConfigError} naming the variable, its value and what is allowed
 */
export function readConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  for (const name of Object.keys(environment))
    if (name.startsWith("MOIETY_") && !(name in VARIABLES))
      throw new ConfigError(
        name,
        environment[name] ?? "",
        `no such variable; known: ${Object.keys(VARIABLES).join(", ")}`,
      );

  const values = Object.fromEntries(
    Object.entries(VARIABLES).map(([name, variable]) => {
      const raw = environment[name];
      const unset = raw === undefined || (raw === "" && !("readsEmpty" in variable));
      return [name, unset ? variable.default : variable.parse(raw, name)];
    }),
  ) as Values;

  const bucket = values.MOIETY_NAMESPACE;
  return Object.freeze({
    mode: values.MOIETY_MODE,
    namespace: values.MOIETY_NAMESPACE,
    nodeID: values.MOIETY_NODE_ID,
    natsUrl: values.MOIETY_NATS_URL,
    redisUrl: values.MOIETY_REDIS_URL || undefined,
    store: Object.freeze<StoreLocation>(
      values.MOIETY_MODE === "cluster"
        ? { kind: "jetstream", url: values.MOIETY_NATS_URL, bucket }
        : { kind: "files", directory: values.MOIETY_DATA_DIR },
    ),
    datasetsDirectory: values.MOIETY_DATASETS_DIR || undefined,
    datasetsMemoryBytes: values.MOIETY_DATASETS_MEMORY_BYTES,
    modelRepository: Object.freeze({
      directories: Object.freeze(values.MOIETY_MODEL_REPOSITORY.split(delimiter).filter(Boolean)),
      pollSeconds: values.MOIETY_MODEL_REPOSITORY_POLL_SECONDS,
    }),
    http: Object.freeze({
      host: values.MOIETY_HTTP_HOST,
      port: values.MOIETY_HTTP_PORT,
      maxBodyBytes: values.MOIETY_HTTP_MAX_BODY_BYTES,
    }),
    grpc: Object.freeze({ port: values.MOIETY_GRPC_PORT }),
    tls: tlsOf(values),
    server: Object.freeze({
      name: values.MOIETY_SERVER_NAME,
      version: values.MOIETY_SERVER_VERSION || PRODUCT.version,
    }),
    metricsPort: values.MOIETY_METRICS_PORT,
    strictReadiness: values.MOIETY_STRICT_READINESS === "on",
    tritonMetrics: values.MOIETY_TRITON_METRICS === "on",
    accessLog: values.MOIETY_ACCESS_LOG || undefined,
    logLevel: values.MOIETY_LOG_LEVEL,
    inference: Object.freeze({
      workers: values.MOIETY_INFERENCE_WORKERS,
      isolation: values.MOIETY_INFERENCE_ISOLATION,
      maxBatchRows: values.MOIETY_INFERENCE_MAX_BATCH,
      queueDelayMs: values.MOIETY_INFERENCE_QUEUE_DELAY_MS,
      maxQueue: values.MOIETY_INFERENCE_MAX_QUEUE,
      timeoutMs: values.MOIETY_INFERENCE_TIMEOUT_MS,
    }),
    cache: Object.freeze({
      maxBytes: values.MOIETY_CACHE_MAX_BYTES,
      ttlSeconds: values.MOIETY_CACHE_TTL_SECONDS,
    }),
    trainer: Object.freeze({
      concurrency: values.MOIETY_TRAINER_CONCURRENCY,
      maxQueued: values.MOIETY_TRAINER_MAX_QUEUED,
      threads: values.MOIETY_TRAINER_THREADS,
      executionProvider: values.MOIETY_EXECUTION_PROVIDER,
    }),
  });
}
