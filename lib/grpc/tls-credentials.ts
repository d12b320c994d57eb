/**
 * TLS of a gRPC server whose certificate may change while it runs. The library's own credentials are fixed once made, or
 * read files by themselves and serve nobody while these do not fit together; these are told what to serve with.
 */

import { ServerCredentials } from "@grpc/grpc-js";
import type { TlsMaterial } from "../http/tls-files.ts";

/** Of a client that connects and is silent. */
const HANDSHAKE_TIMEOUT_MS = 15_000;

export class TlsCredentials extends ServerCredentials {
  /** @param clientCertificates whether clients must prove themselves */
  constructor(clientCertificates: boolean) {
    super({
      requestCert: clientCertificates,
      rejectUnauthorized: clientCertificates,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    });
  }

  /** For connections from now on. */
  use(material: TlsMaterial): void {
    this.updateSecureContextOptions(material);
  }

  /** Asked by the library where one address is bound twice. */
  _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}
