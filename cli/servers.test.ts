import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { Redis } from "ioredis";
import { connect } from "nats";
import { errorType } from "../lib/errors.ts";
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

async function untilDead(pid: number): Promise<void> {
  for (const deadline = Date.now() + 5000; isAlive(pid); await wait(20))
    if (Date.now() > deadline) throw new Error(`Process ${pid} is still there`);
}

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
  const own = async () => (await readdir(tmpdir())).filter((name) => /^moiety-(nats|redis)-/.test(name));
  const before = await own();
  const server = await startNats();
  const folder = (await own()).find((name) => !before.includes(name));
  expect(folder).toBeDefined();
  server.kill("SIGKILL");
  await untilDead(server.pid);
  await server.stop();
  await server.stop();
  expect(existsSync(join(tmpdir(), folder!))).toBe(false);
});

test("refuses a port that is taken", async () => {
  const blocker = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => blocker.once("listening", resolve));
  const { port } = blocker.address() as { port: number };
  for (const start of [startNats, startRedis])
    await expect(start({ port })).rejects.toMatchObject({ type: "PORT_IN_USE", data: { port } });
  await new Promise((resolve) => blocker.close(resolve));
});

test("reports what the server said when it dies at once", async () => {
  await expect(startNats({ directory: "/proc/version" })).rejects.toMatchObject({
    code: "EEXIST",
  });
  const failure = await startRedis({ port: 1, directory }).catch((error: unknown) => error);
  if (process.getuid?.() !== 0) expect(errorType(failure)).toBe("EXECUTION_FAILED");
  else await (failure as { stop(): Promise<void> }).stop();
});

test("takes its servers along when the process that started them is killed", async () => {
  const script = `
    import { startNats, startRedis } from ${JSON.stringify(import.meta.resolve("./servers.ts"))};
    const servers = [await startNats({ directory: ${JSON.stringify(join(directory, "orphan"))} }), await startRedis()];
    console.log(JSON.stringify(servers.map((server) => server.pid)));
    setInterval(() => {}, 1000);
  `;
  const parent = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await createInterface(parent.stdout)[Symbol.asyncIterator]().next()).value.split("\n");
  const pids = JSON.parse(line) as number[];
  expect(pids.every(isAlive)).toBe(true);
  parent.kill("SIGKILL");
  for (const pid of pids) await untilDead(pid);
});
