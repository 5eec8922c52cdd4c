/** Every pair of a text colour and its background, in both themes (WCAG 2.2 §1.4.3, §1.4.11). */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const css = readFileSync(new URL("../../src/lib/tokens.css", import.meta.url), "utf8");
const blocks = [...css.matchAll(/\{([^{}]*--paper[^{}]*)\}/g)].map((match) => match[1] ?? "");
const themes = blocks.map((block) => new Map([...block.matchAll(/--([\w-]+):\s*(#[0-9a-f]{6})/g)].map((m) => [m[1], m[2]])));

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const channel = parseInt(hex.slice(at, at + 2), 16) / 255;
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (r ?? 0) + 0.7152 * (g ?? 0) + 0.0722 * (b ?? 0);
}

function contrast(a: string, b: string): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return ((light ?? 0) + 0.05) / ((dark ?? 0) + 0.05);
}

const grounds = ["paper", "surface", "sunken"];
const text: [string, string[]][] = [
  ["ink", [...grounds, "ember-soft", "good-soft", "warn-soft", "bad-soft", "calm-soft"]],
  ["muted", grounds],
  ["ember", ["paper", "surface", "sunken", "ember-soft"]],
  ["good", ["surface", "good-soft"]],
  ["warn", ["surface", "warn-soft"]],
  ["bad", ["surface", "bad-soft"]],
  ["calm", ["surface", "calm-soft"]],
  ["ember-ink", ["ember"]],
];
const lines: [string, string[]][] = [
  ["edge", ["paper", "surface"]],
  ["focus", grounds],
];

test("there is a light theme, and a dark one that is the same by system and by choice", () => {
  expect(themes).toHaveLength(3);
  expect([...(themes[1] ?? [])]).toEqual([...(themes[2] ?? [])]);
});

for (const [theme, tokens] of [["light", themes[0]], ["dark", themes[1]]] as const) {
  for (const [pairs, least] of [[text, 4.5], [lines, 3]] as const) {
    for (const [name, on] of pairs) {
      for (const ground of on) {
        test(`${name} is read on ${ground}, ${theme}`, () => {
          expect(contrast(tokens?.get(name) ?? "", tokens?.get(ground) ?? "")).toBeGreaterThanOrEqual(least);
        });
      }
    }
  }
}
