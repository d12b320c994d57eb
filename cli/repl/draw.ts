/** Pictures for a terminal, out of characters. */

/** From no ink to full ink. */
const RAMP = " .:-=+*#%@";
const BAR_WIDTH = 40;

/**
 * A grey image (0 to 255, row-major) as text, two rows of pixels per line because characters are tall.
 */
export function drawImage(pixels: Uint8Array, height: number, width: number): string {
  const lines: string[] = [];
  for (let y = 0; y < height; y += 2) {
    let line = "";
    for (let x = 0; x < width; x++) {
      const upper = pixels[y * width + x]!;
      const lower = y + 1 < height ? pixels[(y + 1) * width + x]! : upper;
      line += RAMP[Math.round((((upper + lower) / 2) * (RAMP.length - 1)) / 255)];
    }
    lines.push(`  ${line.trimEnd()}`);
  }
  return lines.join("\n");
}

/** One bar per class, as long as its probability. */
export function drawProbabilities(probabilities: Float32Array, labels: readonly string[]): string {
  const nameWidth = Math.max(...labels.map((label) => label.length));
  return [...probabilities]
    .map((p, k) => {
      const name = (labels[k] ?? String(k)).padEnd(nameWidth);
      return `  ${name} ${(100 * p).toFixed(2).padStart(6)}% ${"█".repeat(Math.round(p * BAR_WIDTH))}`.trimEnd();
    })
    .join("\n");
}

/** Rows under a header, columns as wide as they need to be. */
export function drawTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    `  ${cells.map((cell, i) => cell.padEnd(widths[i]!)).join("  ")}`.trimEnd();
  return [line(header), line(widths.map((width) => "─".repeat(width))), ...rows.map(line)].join("\n");
}
