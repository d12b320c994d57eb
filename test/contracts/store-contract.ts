/**
 * What every store has to do, whatever it is made of. `describeStore` runs the suite; `open` opens the same store
 * each time it is called, as another process would, and `dispose` closes what that call opened.
 */

import { createHash, randomBytes } from "node:crypto";
import { errorType } from "../../lib/errors.ts";
import type { KeyValueEntry, Store } from "../../lib/store/store.ts";

export type OpenedStore = { store: Store; dispose: () => Promise<void> };

/** The `type` of the error a promise rejects with; "resolved" when it does not. */
export function rejection(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "resolved",
    (error: unknown) => errorType(error),
  );
}

export function describeStore(name: string, open: () => Promise<OpenedStore>): void {
  describe(name, () => {
    let opened: OpenedStore;
    let store: Store;
    /** Keeps the keys of one test from those of another. */
    let area: string;

    beforeAll(async () => {
      opened = await open();
      store = opened.store;
    });
    beforeEach(() => {
      area = `t${randomBytes(6).toString("hex")}`;
    });
    afterAll(() => opened?.dispose());

    describe("artifacts", () => {
      const unknown = `sha256:${"0".repeat(64)}`;

      test("names bytes by their SHA-256 and gives them back", async () => {
        const bytes = randomBytes(1000);
        const reference = await store.artifacts.put(bytes);
        expect(reference).toEqual({
          digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`,
          size: 1000,
        });
        expect(Buffer.compare(await store.artifacts.get(reference.digest), bytes)).toBe(0);
        expect(await store.artifacts.has(reference.digest)).toBe(true);
      });

      test("keeps the empty artifact", async () => {
        const { digest, size } = await store.artifacts.put(new Uint8Array(0));
        expect(size).toBe(0);
        expect((await store.artifacts.get(digest)).byteLength).toBe(0);
      });

      test("stores a view of a larger buffer as only what the view shows", async () => {
        const { digest } = await store.artifacts.put(new Uint8Array([1, 2, 3, 4, 5]).subarray(1, 3));
        expect([...(await store.artifacts.get(digest))]).toEqual([2, 3]);
      });

      test("keeps an artifact of 20 MiB without changing a byte", async () => {
        const bytes = randomBytes(20 * 2 ** 20);
        const { digest } = await store.artifacts.put(bytes);
        expect(Buffer.compare(await store.artifacts.get(digest), bytes)).toBe(0);
      });

      test("gives the same reference to the same bytes, however often and at once they are stored", async () => {
        const bytes = randomBytes(300_000);
        const references = await Promise.all(Array.from({ length: 8 }, () => store.artifacts.put(bytes)));
        expect(new Set(references.map((reference) => reference.digest)).size).toBe(1);
        const digest = references[0]!.digest;
        expect(Buffer.compare(await store.artifacts.get(digest), bytes)).toBe(0);
        const listed = (await store.artifacts.list()).filter((reference) => reference.digest === digest);
        expect(listed).toEqual([references[0]]);
      });

      test("says which artifact it does not have", async () => {
        expect(await store.artifacts.has(unknown)).toBe(false);
        await expect(store.artifacts.get(unknown)).rejects.toMatchObject({
          type: "ARTIFACT_NOT_FOUND",
          data: { digest: unknown },
        });
      });

      test("refuses what is not a digest", async () => {
        for (const digest of [
          "",
          "sha256:",
          "../../etc/passwd",
          `md5:${"0".repeat(32)}`,
          unknown.toUpperCase(),
        ]) {
          expect(await rejection(store.artifacts.get(digest))).toBe("INVALID_INPUT");
          expect(await rejection(store.artifacts.has(digest))).toBe("INVALID_INPUT");
          expect(await rejection(store.artifacts.delete(digest))).toBe("INVALID_INPUT");
        }
      });

      test("deletes an artifact, and does not mind one that is not there", async () => {
        const { digest } = await store.artifacts.put(randomBytes(10));
        await store.artifacts.delete(digest);
        expect(await store.artifacts.has(digest)).toBe(false);
        expect(await rejection(store.artifacts.get(digest))).toBe("ARTIFACT_NOT_FOUND");
        await store.artifacts.delete(digest);
        expect((await store.artifacts.list()).some((reference) => reference.digest === digest)).toBe(false);
      });

      test("stores an artifact again after it was deleted", async () => {
        const bytes = randomBytes(10);
        const { digest } = await store.artifacts.put(bytes);
        await store.artifacts.delete(digest);
        await store.artifacts.put(bytes);
        expect(Buffer.compare(await store.artifacts.get(digest), bytes)).toBe(0);
      });
    });

    describe("records", () => {
      test("creates a key once and refuses it the second time", async () => {
        const created = await store.records.create(`${area}/a`, { n: 1 });
        expect(created).toMatchObject({ key: `${area}/a`, value: { n: 1 } });
        expect(await store.records.get(`${area}/a`)).toEqual(created);
        await expect(store.records.create(`${area}/a`, { n: 2 })).rejects.toMatchObject({
          type: "REVISION_CONFLICT",
          data: { key: `${area}/a` },
        });
        expect(await store.records.get(`${area}/a`)).toEqual(created);
      });

      test("knows nothing of a key that was never written", async () => {
        expect(await store.records.get(`${area}/none`)).toBeUndefined();
        expect(await rejection(store.records.update(`${area}/none`, 1, 1))).toBe("REVISION_CONFLICT");
        expect(await rejection(store.records.delete(`${area}/none`, 1))).toBe("REVISION_CONFLICT");
        await store.records.delete(`${area}/none`);
      });

      test("updates only at the revision that was read", async () => {
        const first = await store.records.create(`${area}/a`, "one");
        const second = await store.records.update(`${area}/a`, "two", first.revision);
        expect(second.revision).toBeGreaterThan(first.revision);
        expect(await rejection(store.records.update(`${area}/a`, "late", first.revision))).toBe(
          "REVISION_CONFLICT",
        );
        expect(await store.records.get(`${area}/a`)).toEqual(second);
      });

      test("refuses every revision that has been passed, however long ago", async () => {
        const passed: number[] = [];
        let entry: KeyValueEntry = await store.records.create(`${area}/a`, 0);
        for (let n = 1; n <= 6; n++) {
          passed.push(entry.revision);
          entry = await store.records.update(`${area}/a`, n, entry.revision);
        }
        for (const revision of [0, ...passed, entry.revision + 1])
          expect(await rejection(store.records.update(`${area}/a`, -1, revision))).toBe("REVISION_CONFLICT");
        expect(await store.records.get(`${area}/a`)).toEqual(entry);
      });

      test("deletes at a revision, refuses at any other, and never goes back to an old one", async () => {
        const first = await store.records.create(`${area}/a`, 1);
        const second = await store.records.update(`${area}/a`, 2, first.revision);
        expect(await rejection(store.records.delete(`${area}/a`, first.revision))).toBe("REVISION_CONFLICT");
        await store.records.delete(`${area}/a`, second.revision);
        expect(await store.records.get(`${area}/a`)).toBeUndefined();
        expect(await rejection(store.records.update(`${area}/a`, 3, second.revision))).toBe(
          "REVISION_CONFLICT",
        );
        const again = await store.records.create(`${area}/a`, 4);
        expect(again.revision).toBeGreaterThan(second.revision);
        expect(await rejection(store.records.update(`${area}/a`, 3, first.revision))).toBe(
          "REVISION_CONFLICT",
        );
        expect(await store.records.get(`${area}/a`)).toEqual(again);
      });

      test("deletes whatever the revision is when none is named", async () => {
        await store.records.create(`${area}/a`, 1);
        await store.records.delete(`${area}/a`);
        await store.records.delete(`${area}/a`);
        expect(await store.records.get(`${area}/a`)).toBeUndefined();
        expect(await store.records.keys(`${area}/`)).toEqual([]);
      });

      test("lets exactly one of many concurrent writers win each revision", async () => {
        let entry = await store.records.create<number>(`${area}/a`, -1);
        for (let round = 0; round < 5; round++) {
          const outcomes = await Promise.allSettled(
            Array.from({ length: 16 }, (_, writer) =>
              store.records.update(`${area}/a`, round * 100 + writer, entry.revision),
            ),
          );
          const won = outcomes.filter((outcome) => outcome.status === "fulfilled");
          expect(won.length).toBe(1);
          for (const outcome of outcomes)
            if (outcome.status === "rejected") expect(errorType(outcome.reason)).toBe("REVISION_CONFLICT");
          entry = (await store.records.get<number>(`${area}/a`))!;
          expect(entry).toEqual(won[0]!.value);
        }
      });

      test("lets exactly one of many concurrent creators win", async () => {
        const outcomes = await Promise.allSettled(
          Array.from({ length: 16 }, (_, writer) => store.records.create(`${area}/a`, writer)),
        );
        expect(outcomes.filter((outcome) => outcome.status === "fulfilled").length).toBe(1);
      });

      test("loses no increment of many writers who retry", async () => {
        await store.records.create(`${area}/count`, 0);
        const writer = async () => {
          for (let n = 0; n < 10; )
            try {
              const { value, revision } = (await store.records.get<number>(`${area}/count`))!;
              await store.records.update(`${area}/count`, value + 1, revision);
              n++;
            } catch (error) {
              expect(errorType(error)).toBe("REVISION_CONFLICT");
            }
        };
        await Promise.all(Array.from({ length: 6 }, writer));
        expect((await store.records.get(`${area}/count`))?.value).toBe(60);
      });

      test("gives JSON back as it was, in every script", async () => {
        const value = {
          text: 'Größe 模型 🧠 \u0000 \u2028 "quoted" \\ \n',
          ключ: [null, true, false, 0, -1.5, 1e300, ""],
          nested: { deep: [[], {}, [[{}]]] },
        };
        await store.records.create(`${area}/unicode`, value);
        expect((await store.records.get(`${area}/unicode`))?.value).toEqual(value);
        await store.records.create(`${area}/null`, null);
        expect(await store.records.get(`${area}/null`)).toMatchObject({ value: null });
      });

      test("refuses values that JSON cannot hold or that are too large, and keeps what was there", async () => {
        const entry = await store.records.create(`${area}/a`, 1);
        for (const value of [undefined, () => 1, "x".repeat(1_000_001)]) {
          expect(await rejection(store.records.create(`${area}/b`, value))).toBe("INVALID_INPUT");
          expect(await rejection(store.records.update(`${area}/a`, value, entry.revision))).toBe(
            "INVALID_INPUT",
          );
        }
        expect(await store.records.get(`${area}/a`)).toEqual(entry);
      });

      test("keeps a record close to the limit", async () => {
        const text = "x".repeat(999_000);
        await store.records.create(`${area}/large`, text);
        expect((await store.records.get(`${area}/large`))?.value).toBe(text);
      });

      test("keeps awkward keys apart", async () => {
        const keys = [
          "a",
          "A",
          "a/b",
          "a/b/c",
          "a.b",
          "a.b.c",
          "a..b",
          "a.",
          ".a",
          "...",
          "-",
          "_",
          "1.json",
          "a/1.json",
          "tmp",
          "keys",
          "con",
          "x".repeat(100),
        ].map((key) => `${area}/${key}`);
        for (const key of keys) await store.records.create(key, `value of ${key}`);
        for (const key of keys) expect((await store.records.get(key))?.value).toBe(`value of ${key}`);
        expect(await store.records.keys(`${area}/`)).toEqual(keys.toSorted());
        await store.records.delete(`${area}/a`);
        expect(await store.records.keys(`${area}/a`)).toEqual(
          keys.filter((key) => key.startsWith(`${area}/a`) && key !== `${area}/a`).toSorted(),
        );
      });

      test("refuses keys that are none", async () => {
        const keys = [
          "",
          "/",
          "a/",
          "/a",
          "a//b",
          "..",
          ".",
          "a/..",
          "../a",
          "a/./b",
          "a b",
          "a*",
          "a>",
          "a=b",
        ];
        for (const key of [
          ...keys,
          "ä",
          "a\\b",
          "a\0b",
          "a\n",
          "$x",
          "x".repeat(101),
          `${"a/".repeat(8)}a`,
        ]) {
          expect(await rejection(store.records.get(key))).toBe("INVALID_INPUT");
          expect(await rejection(store.records.create(key, 1))).toBe("INVALID_INPUT");
          expect(await rejection(store.records.update(key, 1, 1))).toBe("INVALID_INPUT");
          expect(await rejection(store.records.delete(key))).toBe("INVALID_INPUT");
        }
        for (const prefix of ["/", "..//", "../", "a//", "*", ">", "a b"])
          expect(await rejection(store.records.keys(prefix))).toBe("INVALID_INPUT");
      });

      test("lists keys by prefix, sorted, whether it ends within a segment or at its end", async () => {
        for (const key of ["jobs/b", "jobs/a", "jobs/ab/c", "jobsx/a", "models/a"])
          await store.records.create(`${area}/${key}`, 1);
        const listed = async (prefix: string) =>
          (await store.records.keys(`${area}/${prefix}`)).map((key) => key.slice(area.length + 1));
        expect(await listed("jobs/")).toEqual(["jobs/a", "jobs/ab/c", "jobs/b"]);
        expect(await listed("jobs/a")).toEqual(["jobs/a", "jobs/ab/c"]);
        expect(await listed("jobs")).toEqual(["jobs/a", "jobs/ab/c", "jobs/b", "jobsx/a"]);
        expect(await listed("nothing/")).toEqual([]);
        expect(await listed("jobs/a/")).toEqual([]);
        const all = await store.records.keys("");
        expect(all.filter((key) => key.startsWith(`${area}/`)).length).toBe(5);
      });
    });

    test("keeps everything when it is closed and opened again", async () => {
      const { digest } = await store.artifacts.put(Buffer.from(area));
      const entry = await store.records.create(`${area}/a`, { kept: true });
      const other = await open();
      try {
        expect(Buffer.from(await other.store.artifacts.get(digest)).toString()).toBe(area);
        expect(await other.store.records.get(`${area}/a`)).toEqual(entry);
        const next = await other.store.records.update(`${area}/a`, { kept: "still" }, entry.revision);
        expect(await store.records.get(`${area}/a`)).toEqual(next);
      } finally {
        await other.dispose();
      }
    });

    test("refuses calls after it was closed", async () => {
      const other = await open();
      await other.store.close();
      expect(await rejection(other.store.records.get(`${area}/a`))).toBe("STORE_UNAVAILABLE");
      expect(await rejection(other.store.records.create(`${area}/a`, 1))).toBe("STORE_UNAVAILABLE");
      expect(await rejection(other.store.artifacts.put(new Uint8Array(1)))).toBe("STORE_UNAVAILABLE");
      await other.dispose();
      expect(await store.records.get(`${area}/a`)).toBeUndefined();
    });
  });
}
