/** Moleculer's formatted log lines, all on stderr: stdout belongs to what a command prints as its result. */

import { Loggers } from "moleculer";

type Level = Parameters<NonNullable<ReturnType<Loggers.Base<object>["getLogHandler"]>>>[0];

export class StderrLogger extends Loggers.Formatted<object> {
  constructor() {
    super({ formatter: "short", colors: process.stderr.isTTY === true });
  }

  override getLogHandler(bindings: Parameters<Loggers.Formatted<object>["getLogHandler"]>[0]) {
    const allowed = bindings ? this.getLogLevel(bindings.mod) : null;
    if (!allowed) return null;
    const severity = Loggers.Base.LEVELS.indexOf(allowed);
    const format = this.getFormatter(bindings);
    return (level: Level, args: unknown[]): void => {
      if (Loggers.Base.LEVELS.indexOf(level) <= severity) console.error(...format(level, args));
    };
  }
}
