import type { Evaluation } from "../lib/protocol/models.ts";
import { printPublished } from "./report.ts";

test("says which version a job made, and why it is not in production", () => {
  const result = { model: "m", version: 4, evaluation: {} as Evaluation, trainSeconds: 1 };
  expect(printPublished({ ...result, promoted: true, promotionReason: "no version was in production" })).toBe(
    "  m version 4, now in production",
  );
  expect(printPublished({ ...result, promoted: false, promotionReason: "the job was cancelled" })).toBe(
    "  m version 4, not promoted: the job was cancelled",
  );
  // Jobs of before it was recorded.
  expect(printPublished({ ...result, promoted: false })).toBe("  m version 4, not promoted");
});
