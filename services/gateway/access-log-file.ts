/**
 * The access log of a gateway: `MOIETY_ACCESS_LOG` says where to. SIGHUP makes it go on in a new file of the same name,
 * as programs that move logs away send it.
 */

import { AccessLog } from "../../lib/http/access-log.ts";
import { LineLog } from "../../lib/http/line-log.ts";
import type { MetricSink } from "../../lib/protocol/metrics.ts";

export class AccessLogFile {
  readonly log: AccessLog;
  readonly #lines: LineLog;
  readonly #reopen = (): void => this.#lines.reopen();

  constructor(target: string, metrics: MetricSink, onFailure: (error: unknown) => void) {
    this.#lines = new LineLog({
      target,
      onDropped: (lines, cause) => metrics.increment("moiety.accesslog.dropped", { cause }, lines),
      onFailure,
    });
    this.log = new AccessLog(this.#lines);
  }

  /** @throws when the file cannot be opened */
  async open(): Promise<void> {
    await this.#lines.open();
    process.on("SIGHUP", this.#reopen);
  }

  async close(): Promise<void> {
    process.off("SIGHUP", this.#reopen);
    await this.#lines.close();
  }
}
