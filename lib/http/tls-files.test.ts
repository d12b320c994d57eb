/** Files of TLS: what is wrong with one stops the start by name; what changes is used once it fits together. */

import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { throwAwayCertificate } from "../../test/fixtures/certificate.ts";
import { readTlsFiles, type TlsMaterial, TlsWatch } from "./tls-files.ts";

const directory = mkdtempSync(join(tmpdir(), "moiety-tls-"));
const [first, second] = [throwAwayCertificate("first"), throwAwayCertificate("second")];

afterAll(() => rmSync(directory, { recursive: true, force: true }));

function written(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const files = () => ({
  certificate: written("cert.pem", first.cert),
  key: written("key.pem", first.key),
  clientAuthority: undefined as string | undefined,
});

describe("reading", () => {
  test("gives what the files hold", async () => {
    const clientAuthority = written("ca.pem", second.cert);
    const { cert, key, ca } = await readTlsFiles({ ...files(), clientAuthority });
    expect([cert, key, ca].map(String)).toEqual([first.cert, first.key, second.cert]);
    expect((await readTlsFiles(files())).ca).toBeUndefined();
  });

  test.each([
    ["a certificate that is not there", { certificate: "/nosuch/cert.pem" }, /MOIETY_TLS_CERT=.*ENOENT/],
    ["a key that is not there", { key: "/nosuch/key.pem" }, /MOIETY_TLS_KEY=.*ENOENT/],
    [
      "an authority that is not there",
      { clientAuthority: "/nosuch/ca.pem" },
      /MOIETY_TLS_CLIENT_CA=.*ENOENT/,
    ],
    ["a folder", { certificate: directory }, /MOIETY_TLS_CERT=.*EISDIR/],
    [
      "text for a certificate",
      { certificate: written("text", "text") },
      /MOIETY_TLS_CERT=.*a certificate in PEM/,
    ],
    ["nothing for a key", { key: written("empty", "") }, /MOIETY_TLS_KEY=.*a private key in PEM/],
    [
      "a certificate for a key",
      { key: written("other", first.cert) },
      /MOIETY_TLS_KEY=.*a private key in PEM/,
    ],
    [
      "another key",
      { key: written("second.pem", second.key) },
      /MOIETY_TLS_KEY=.*the private key of the certificate in .*cert\.pem/,
    ],
    ["text for an authority", { clientAuthority: written("text", "text") }, /MOIETY_TLS_CLIENT_CA=/],
  ])("refuses %s, naming the variable", async (_, wrong, message) => {
    await expect(readTlsFiles({ ...files(), ...wrong })).rejects.toThrow(message);
  });
});

describe("a watch", () => {
  async function watching() {
    const given = files();
    const materials: TlsMaterial[] = [];
    const problems: unknown[] = [];
    const watch = new TlsWatch(given, {
      onMaterial: (material) => materials.push(material),
      onProblem: (error) => problems.push(error),
    });
    // It looks when the test says so.
    await watch.start(1_000_000);
    watch.stop();
    return { watch, materials, problems, ...given };
  }

  test("hands over what is there, and then only what is new", async () => {
    const { watch, materials, certificate, key } = await watching();
    await watch.look();
    expect(materials).toHaveLength(1);
    writeFileSync(certificate, second.cert);
    writeFileSync(key, second.key);
    await watch.look();
    await watch.look();
    expect(materials.map(({ cert }) => String(cert))).toEqual([first.cert, second.cert]);
  });

  test("sees files that a link leads to", async () => {
    const { watch, materials, certificate, key } = await watching();
    for (const [path, content] of [
      [certificate, second.cert],
      [key, second.key],
    ] as const) {
      symlinkSync(written(`target-${content.length}`, content), `${path}.new`);
      renameSync(`${path}.new`, path);
    }
    await watch.look();
    expect(materials.map(({ cert }) => String(cert))).toEqual([first.cert, second.cert]);
    rmSync(certificate);
    rmSync(key);
  });

  test("waits while files do not fit together, and tells once of what stays wrong", async () => {
    const { watch, materials, problems, certificate, key } = await watching();
    writeFileSync(certificate, second.cert);
    await watch.look();
    expect(problems).toEqual([]);
    await watch.look();
    await watch.look();
    expect(problems).toEqual([expect.objectContaining({ type: "CONFIG_INVALID" })]);
    expect(materials).toHaveLength(1);
    writeFileSync(key, second.key);
    await watch.look();
    expect(materials).toHaveLength(2);
    rmSync(key);
    await watch.look();
    await watch.look();
    expect(problems).toHaveLength(2);
  });

  test("does not start with files that cannot be used", async () => {
    const watch = new TlsWatch({ ...files(), key: "/nosuch" }, { onMaterial: () => {}, onProblem: () => {} });
    await expect(watch.start(1000)).rejects.toThrow("MOIETY_TLS_KEY");
  });
});
