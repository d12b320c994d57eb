import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missingPeers, type PeerStatus } from "./peers.ts";

describe("missing peers", () => {
  let directory: string;
  let statusFile: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "peers-"));
    statusFile = join(directory, "peers.json");
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  test("are all Python peers, and only those, before anything was installed", () => {
    expect(missingPeers(["keras", "bare"], statusFile)).toEqual([
      { peer: "keras", reason: "not installed; run: npm run bench:peers" },
    ]);
  });

  test("carry the reason that the installation recorded", () => {
    const statuses: PeerStatus[] = [
      { peer: "keras", installed: true, versions: { keras: "1.0" } },
      { peer: "torch", installed: false, reason: "pip install failed (exit 1): no space left" },
    ];
    writeFileSync(statusFile, JSON.stringify(statuses));
    expect(missingPeers(["keras", "torch", "flask"], statusFile)).toEqual([
      { peer: "torch", reason: "pip install failed (exit 1): no space left" },
      { peer: "flask", reason: "not installed; run: npm run bench:peers" },
    ]);
  });
});
