import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { connect } from "nats";
import { rejection } from "../test/contracts/store-contract.ts";
import { settled, until } from "../test/fixtures/eventually.ts";
import { startNats, startRedis } from "./servers.ts";

const directory = await mkdtemp(join(tmpdir(), "moiety-servers-"));
afterAll(() => rm(directory, { recursive: true, force: true }));

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const untilDead = (pid: number) => until(() => !isAlive(pid));

test("starts NATS with JetStream, keeps its data in a given folder, and stops it", async () => {
  const store = join(directory, "nats");
  const server = await startNats({ directory: store });
  expect(server.url).toBe(`nats://127.0.0.1:${server.port}`);
  const connection = await connect({ servers: server.url });
  expect(connection.info?.jetstream).toBe(true);
  const bucket = await connection.jetstream().views.kv("test");
  await bucket.put("key", "kept");
  await connection.close();
  await server.stop();
  expect(isAlive(server.pid)).toBe(false);

  const again = await startNats({ directory: store, port: server.port });
  expect(again.port).toBe(server.port);
  const other = await connect({ servers: again.url });
  expect((await (await other.jetstream().views.kv("test")).get("key"))?.string()).toBe("kept");
  await other.close();
  await again.stop();
});

test("starts several Redis servers at once, each on its own port and without persistence", async () => {
  const servers = await Promise.all([startRedis(), startRedis(), startRedis()]);
  expect(new Set(servers.map((server) => server.port)).size).toBe(3);
  for (const server of servers) {
    const redis = new Redis(server.url);
    expect(await redis.ping()).toBe("PONG");
    expect(await redis.config("GET", "save")).toEqual(["save", ""]);
    expect(await redis.config("GET", "bind")).toEqual(["bind", "127.0.0.1"]);
    redis.disconnect();
  }
  await Promise.all(servers.map((server) => server.stop()));
  for (const server of servers) expect(isAlive(server.pid)).toBe(false);
});

test("leaves nothing behind, and minds neither a second stop nor one after a kill", async () => {
  const { TMPDIR } = process.env;
  process.env.TMPDIR = await mkdtemp(join(directory, "tmp-"));
  try {
    const server = await startNats();
    expect(await readdir(process.env.TMPDIR)).toEqual([expect.stringMatching(/^moiety-nats-/)]);
    server.kill("SIGKILL");
    await untilDead(server.pid);
    await server.stop();
    await server.stop();
    expect(await readdir(process.env.TMPDIR)).toEqual([]);
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
  }
});

test("refuses a port that is taken", async () => {
  const blocker = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => blocker.once("listening", resolve));
  const { port } = blocker.address() as { port: number };
  for (const start of [startNats, startRedis])
    await expect(start({ port })).rejects.toMatchObject({ type: "PORT_IN_USE", data: { port } });
  await new Promise((resolve) => blocker.close(resolve));
});

test("reports what the server said when it dies at once, and a folder that cannot be made", async () => {
  await expect(startNats({ directory: "/proc" })).rejects.toMatchObject({
    type: "EXECUTION_FAILED",
    message: expect.stringMatching(/Starting nats-server failed: it ended with status 1: .*\/proc/s),
  });
  for (const start of [startNats, startRedis])
    expect(await rejection(start({ directory: "/proc/nothing" }))).toBe("STORE_UNAVAILABLE");
});

test("takes its servers along when the process that started them is killed", async () => {
  const script = `
    import { startNats, startRedis } from ${JSON.stringify(import.meta.resolve("./servers.ts"))};
    const directory = ${JSON.stringify(join(directory, "orphans"))};
    const servers = [await startNats({ directory }), await startRedis({ directory })];
    console.log(JSON.stringify(servers.map((server) => server.pid)));
    setInterval(() => {}, 1000);
  `;
  const parent = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await settled(once(createInterface(parent.stdout), "line"))) as [string];
  const pids = JSON.parse(line) as number[];
  expect(pids.every(isAlive)).toBe(true);
  parent.kill("SIGKILL");
  for (const pid of pids) await untilDead(pid);
});
