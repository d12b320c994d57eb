import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { affineModel } from "../../test/fixtures/onnx-models.ts";

test("a node's runtime keeps no record of itself to be sent", () => {
  const home = mkdtempSync(join(tmpdir(), "moiety-telemetry-"));
  try {
    const model = join(home, "model.onnx");
    writeFileSync(model, affineModel({ scale: 2 }));
    const script = `
      import { brokerOptions } from ${JSON.stringify(join(import.meta.dirname, "../../moleculer.config.ts"))};
      import { readConfig } from ${JSON.stringify(join(import.meta.dirname, "../config.ts"))};
      brokerOptions(readConfig({}));
      const { InferenceSession } = await import("onnxruntime-node");
      await (await InferenceSession.create(${JSON.stringify(model)})).release();`;
    const { ORT_DISABLE_TELEMETRY: _, CI: __, ...env } = process.env;
    execFileSync(process.execPath, ["--input-type=module", "-e", script], {
      env: { ...env, HOME: home, XDG_CACHE_HOME: join(home, ".cache") },
      cwd: join(import.meta.dirname, "../.."),
    });
    expect(readdirSync(home)).toEqual(["model.onnx"]);
  } finally {
    rmSync(home, { recursive: true });
  }
});
