import { readFileSync } from "node:fs";
import { type Child, Children } from "./children.ts";

const DEADLINE_MS = 120_000;
const ECHO = 'process.stdin.on("data", (d) => process.stdout.write(d))';

async function withChild(
  script: string,
  body: (child: Child, children: Children) => Promise<void>,
): Promise<void> {
  const children = new Children();
  try {
    await body(
      children.start({ name: "test-child", command: process.execPath, args: ["-e", script] }),
      children,
    );
  } finally {
    await children.close();
  }
}

describe("a child of a benchmark", () => {
  test("answers lines with lines", async () => {
    await withChild(ECHO, async (child) => {
      await expect(child.ask({ steps: 3 }, DEADLINE_MS)).resolves.toEqual({ steps: 3 });
    });
  });

  test("keeps lines that come before anyone waits, and passes over those that are no messages", async () => {
    await withChild(`console.log("hello"); console.log('{"ready":true}'); ${ECHO}`, async (child) => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      await expect(child.message(DEADLINE_MS)).resolves.toEqual({ ready: true });
    });
  });

  test("says nothing while it is paused and goes on when resumed", async () => {
    await withChild(`console.log("{}"); ${ECHO}`, async (child) => {
      await child.message(DEADLINE_MS);
      child.pause();
      await expect(child.ask({ n: 1 }, 300)).rejects.toThrow("said nothing for 300 ms");
      child.resume();
      await expect(child.message(DEADLINE_MS)).resolves.toEqual({ n: 1 });
    });
  });

  test("that ends makes whoever waits fail, with the end of what it said on stderr", async () => {
    await withChild('console.error("out of luck"); process.exit(3)', async (child) => {
      await expect(child.message(DEADLINE_MS)).rejects.toThrow(/exit code 3.*out of luck/s);
    });
  });

  test("that cannot be started fails the same way", async () => {
    const children = new Children();
    const child = children.start({ name: "test-nothing", command: "/nonexistent/program", args: [] });
    await expect(child.message(DEADLINE_MS)).rejects.toThrow("cannot be started");
    await children.close();
  });

  test("reports an error it names itself", async () => {
    await withChild(`console.log('{"error":"no such data"}'); ${ECHO}`, async (child) => {
      await expect(child.message(DEADLINE_MS)).rejects.toThrow("no such data");
    });
  });

  test("is gone after close, also when paused and deaf to SIGTERM, and no other starts", async () => {
    const script =
      'process.on("SIGTERM", () => {}); console.log(JSON.stringify({ pid: process.pid })); setInterval(() => {}, 1e3)';
    const children = new Children(300);
    const child = children.start({ name: "test-deaf", command: process.execPath, args: ["-e", script] });
    const { pid } = await child.message<{ pid: number }>(DEADLINE_MS);
    child.pause();
    await children.close();
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    expect(() => children.start({ name: "late", command: "true", args: [] })).toThrow("ending");
  });

  // What has left the group is found in /proc.
  (process.platform === "linux" ? test : test.skip)(
    "is paused and ended together with descendants that have made a group of their own",
    async () => {
      const script = `
        const { spawn } = require("node:child_process");
        const { pid } = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e3)"], { detached: true, stdio: "ignore" });
        console.log(JSON.stringify({ pid }));
        process.stdin.resume();`;
      const children = new Children(10_000);
      const child = children.start({ name: "test-leaver", command: process.execPath, args: ["-e", script] });
      const { pid } = await child.message<{ pid: number }>(DEADLINE_MS);
      child.pause();
      expect(await eventually(() => stateOf(pid), "T")).toBe("T");
      child.resume();
      expect(await eventually(() => stateOf(pid), "S")).toBe("S");
      await children.close();
      expect(await eventually(() => stateOf(pid), undefined)).toBeUndefined();
    },
  );
});

/** As the kernel has it, `T` being stopped; undefined once it is gone, or dead and only not yet asked after. */
function stateOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const state = stat.slice(stat.lastIndexOf(")") + 2)[0];
    return state === "Z" ? undefined : state;
  } catch {
    return undefined;
  }
}

/** The last value read, as soon as it is the wanted one. */
async function eventually<T>(read: () => T, wanted: T): Promise<T> {
  const until = performance.now() + DEADLINE_MS;
  for (;;) {
    const value = read();
    if (value === wanted || performance.now() > until) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
