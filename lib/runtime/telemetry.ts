/**
 * ONNX Runtime's builds for Linux send Microsoft what models are loaded and how they run, unless this variable is set when
 * the library is loaded (core/platform/posix/telemetry.cc, from 1.29 on). What a server computes is its owner's affair.
 */

/** For this process, its threads and its children; on the main thread, before the library is loaded. */
export function silenceRuntime(): void {
  process.env.ORT_DISABLE_TELEMETRY ??= "1";
}
