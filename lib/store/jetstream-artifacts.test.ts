/** What cannot be had from a real server at will: chunks that are answered in another order than they were sent. */

import { setTimeout as wait } from "node:timers/promises";
import { JetStreamArtifactStore } from "./jetstream-artifacts.ts";
import type { JetStreamLink } from "./jetstream-link.ts";

const CHUNK_BYTES = 128 * 1024;

test("a chunk that is refused while earlier ones wait for their answers fails the upload, and no more", async () => {
  const unhandled: unknown[] = [];
  const hear = (reason: unknown) => unhandled.push(reason);
  process.on("unhandledRejection", hear);
  try {
    let sent = 0;
    const purged: string[] = [];
    const objects = { status: async () => ({}), info: async () => null };
    const link = {
      run: <T>(work: () => Promise<T>) => work(),
      jetstream: {
        views: { os: async () => objects },
        async publish() {
          const chunk = sent++;
          await wait(chunk === 3 ? 5 : 50);
          if (chunk === 3) throw new Error("maximum bytes exceeded");
          return { seq: chunk };
        },
      },
      manager: { streams: { purge: async (stream: string) => purged.push(stream) } },
    };
    const store = await JetStreamArtifactStore.open(link as unknown as JetStreamLink, "test");
    await expect(store.put(new Uint8Array(60 * CHUNK_BYTES))).rejects.toThrow("maximum bytes exceeded");
    expect(sent).toBeLessThan(60);
    expect(purged).toEqual(["OBJ_test"]);
    expect(unhandled).toEqual([]);
  } finally {
    process.off("unhandledRejection", hear);
  }
});
