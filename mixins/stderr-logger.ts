/** Moleculer's formatted log lines, all on stderr: stdout belongs to what a command prints as its result. */

import { Loggers } from "moleculer";

export type LogLevel = Parameters<NonNullable<ReturnType<Loggers.Base<object>["getLogHandler"]>>>[0];

export class StderrLogger extends Loggers.Formatted<object> {
  constructor(level: LogLevel) {
    super({ level, formatter: "short", colors: process.stderr.isTTY === true });
  }

  override getLogHandler(bindings: Parameters<Loggers.Formatted<object>["getLogHandler"]>[0]) {
    const allowed = bindings ? this.getLogLevel(bindings.mod) : null;
    if (!allowed) return null;
    const severity = Loggers.Base.LEVELS.indexOf(allowed);
    const format = this.getFormatter(bindings);
    return (level: LogLevel, args: unknown[]): void => {
      if (Loggers.Base.LEVELS.indexOf(level) <= severity) console.error(...format(level, args));
    };
  }
}
