/**
 * What servers prove themselves with, read from PEM files: a certificate (with its chain), its private key and, where
 * clients must prove themselves too, the authorities that vouch for them. Everything is checked before it is used, so
 * that a wrong file stops the start by name. Files that change are read again, which is seen by their content: a
 * certificate manager may write in place, rename, or move a link that they lie behind. New content is used once it is
 * whole and fits together; until then the old serves on.
 */

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { ConfigError, errorMessage } from "../errors.ts";

/** Paths. */
export type TlsFiles = { certificate: string; key: string; clientAuthority: string | undefined };

/** As `tls.createSecureContext` takes it. `ca`: who vouches for clients; undefined when they need not prove themselves. */
export type TlsMaterial = { cert: Buffer; key: Buffer; ca: Buffer | undefined };

export const TLS_VARIABLES = {
  certificate: "MOIETY_TLS_CERT",
  key: "MOIETY_TLS_KEY",
  clientAuthority: "MOIETY_TLS_CLIENT_CA",
} as const;

/** @throws {ConfigError} naming the variable of the file that is at fault */
export async function readTlsFiles(files: TlsFiles): Promise<TlsMaterial> {
  const [cert, key, ca] = await Promise.all([
    readPem("certificate", files.certificate),
    readPem("key", files.key),
    files.clientAuthority === undefined ? undefined : readPem("clientAuthority", files.clientAuthority),
  ]);
  const material = { cert, key, ca };
  check(material, files);
  return material;
}

async function readPem(which: keyof TlsFiles, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new ConfigError(TLS_VARIABLES[which], path, `a file that can be read: ${errorMessage(error)}`);
  }
}

function check({ cert, key, ca }: TlsMaterial, files: TlsFiles): void {
  const certificate = parsed(
    "certificate",
    files.certificate,
    "a certificate in PEM",
    () => new X509Certificate(cert),
  );
  const privateKey = parsed("key", files.key, "a private key in PEM without a passphrase", () =>
    createPrivateKey(key),
  );
  assertPair(certificate, privateKey, files);
  if (ca !== undefined)
    parsed("clientAuthority", files.clientAuthority!, "certificates in PEM", () => new X509Certificate(ca));
  // What else OpenSSL may not like, as a key too short for its level of security.
  parsed("certificate", files.certificate, "a certificate that can be served with", () =>
    createSecureContext({ cert, key }),
  );
}

function parsed<T>(which: keyof TlsFiles, path: string, expected: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new ConfigError(TLS_VARIABLES[which], path, `${expected}: ${errorMessage(error)}`);
  }
}

function assertPair(certificate: X509Certificate, key: KeyObject, files: TlsFiles): void {
  if (!certificate.checkPrivateKey(key))
    throw new ConfigError(
      TLS_VARIABLES.key,
      files.key,
      `the private key of the certificate in ${files.certificate}`,
    );
}

export type TlsListener = {
  /** There is something new to serve with. */
  onMaterial: (material: TlsMaterial) => void;
  /** The files have changed to something that cannot be served with; what was there before is. */
  onProblem: (error: unknown) => void;
};

export class TlsWatch {
  readonly #files: TlsFiles;
  readonly #listener: TlsListener;
  #current: TlsMaterial | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** What the last look met, so that it is told once, and not while files are being replaced one after another. */
  #problem: { message: string; told: boolean } | undefined;

  constructor(files: TlsFiles, listener: TlsListener) {
    this.#files = files;
    this.#listener = listener;
  }

  /** Reads the files and hands over what they hold; from then on looks whether they change. @throws {ConfigError} */
  async start(everyMs: number): Promise<void> {
    this.#take(await readTlsFiles(this.#files));
    this.#timer = setInterval(() => void this.look(), everyMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Never rejects. */
  async look(): Promise<void> {
    try {
      const material = await readTlsFiles(this.#files);
      this.#problem = undefined;
      if (!isSame(material, this.#current)) this.#take(material);
    } catch (error) {
      const message = errorMessage(error);
      const seen = this.#problem?.message === message;
      if (seen && !this.#problem!.told) this.#listener.onProblem(error);
      this.#problem = { message, told: seen };
    }
  }

  #take(material: TlsMaterial): void {
    this.#current = material;
    this.#listener.onMaterial(material);
  }
}

function isSame(a: TlsMaterial, b: TlsMaterial | undefined): boolean {
  return b !== undefined && a.cert.equals(b.cert) && a.key.equals(b.key) && areSame(a.ca, b.ca);
}

function areSame(a: Buffer | undefined, b: Buffer | undefined): boolean {
  return a === undefined || b === undefined ? a === b : a.equals(b);
}
