/**
 * What `bench:serve` compares: for each path, which server Moiety is in it, and which its peers are. A path that names
 * a share of capacity is asked at random times of that rate (an open loop); the others keep connections busy.
 */

export type EndpointName = "json" | "binary" | "grpc" | "cached";
export type ServerName =
  | "moiety"
  | "cluster"
  | "unbatched"
  | "bare"
  | "flask"
  | "fastapi"
  | "fastapi2"
  | "litserve"
  | "bentoml"
  | "mlserver"
  | "rayserve";

/** One server, asked in one way. */
export type Seat = { server: ServerName; endpoint: EndpointName };

export type Path = {
  ours: Seat;
  /** By the name they have in ratios. */
  peers: Readonly<Record<string, Seat>>;
  /** @default a closed loop */
  shareOfCapacity?: number | undefined;
};

const json = (server: ServerName): Seat => ({ server, endpoint: "json" });
const BARE = "bare";
const POISSON = { ours: json("moiety"), peers: { unbatched: json("unbatched") } };

export const PATHS: Readonly<Record<string, Path>> = {
  json: {
    ours: json("moiety"),
    peers: {
      bare: json(BARE),
      flask: json("flask"),
      fastapi: json("fastapi"),
      fastapi2: json("fastapi2"),
      litserve: json("litserve"),
      bentoml: json("bentoml"),
      mlserver: json("mlserver"),
      rayserve: json("rayserve"),
    },
  },
  binary: {
    ours: { server: "moiety", endpoint: "binary" },
    peers: { bare: { server: BARE, endpoint: "binary" } },
  },
  grpc: { ours: { server: "moiety", endpoint: "grpc" }, peers: { bare: { server: BARE, endpoint: "grpc" } } },
  cluster: { ours: json("cluster"), peers: { embedded: json("moiety") } },
  cached: { ours: { server: "moiety", endpoint: "cached" }, peers: { embedded: json("moiety") } },
  poisson50: { ...POISSON, shareOfCapacity: 0.5 },
  poisson80: { ...POISSON, shareOfCapacity: 0.8 },
};

/** Every peer of any path, once. */
export const PATH_PEERS: readonly string[] = [
  ...new Set(Object.values(PATHS).flatMap(({ peers }) => Object.keys(peers))),
];
