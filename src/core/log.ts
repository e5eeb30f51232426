import { messageOf } from "#core/errors.ts";

/** error: someone must look; warn: we coped; info: lifecycle; debug: off unless asked for. */
export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, unknown>;

export interface Logger {
  debug(msg: string, fields?: LogFields): void;
  info(msg: string, fields?: LogFields): void;
  warn(msg: string, fields?: LogFields): void;
  error(msg: string, fields?: LogFields): void;
}

const order: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };
let threshold: LogLevel = "info";

export function setLogLevel(level: LogLevel): void {
  threshold = level;
}

/**
 * A logger that writes one JSON object a line to standard error: `ts level component msg` and the fields. `component` is
 * a stable dotted name (`kv.store`), `msg` a constant text; what varies goes into fields. An `error` field may be any
 * thrown value. Never give it bodies, headers, tokens or secrets.
 */
export function createLogger(component: string): Logger {
  const write = (level: LogLevel, msg: string, fields: LogFields = {}) => {
    if (order[level] < order[threshold]) return;
    const { error, ...rest } = fields;
    const line = {
      ts: new Date().toISOString(),
      level,
      component,
      msg,
      ...rest,
      ...(error === undefined ? {} : describe(error)),
    };
    process.stderr.write(`${JSON.stringify(line)}\n`);
  };
  return {
    debug: (msg, fields) => write("debug", msg, fields),
    info: (msg, fields) => write("info", msg, fields),
    warn: (msg, fields) => write("warn", msg, fields),
    error: (msg, fields) => write("error", msg, fields),
  };
}

function describe(error: unknown): LogFields {
  if (!(error instanceof Error)) return { error: String(error) };
  const cause = error.cause === undefined ? {} : { cause: messageOf(error.cause) };
  return { error: error.message, stack: error.stack, ...cause };
}
