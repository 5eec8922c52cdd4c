// What the compiler does not see: rules of this interface, each with its reason.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const source = new URL("../src", import.meta.url).pathname;
const rules = [
  [/\{@html/, "markup from data: names that devices choose are hostile text", () => true],
  [/\bstyle=/, "inline styles: the content security policy forbids them", (path) => path.endsWith(".svelte")],
  [/\b(new Blob|new FormData|new File)\b/, "posting a Blob or a File ends the desktop's web view; files are saved by lib/save.ts", (path) => !path.endsWith("lib/save.ts")],
  [/\bcreateObjectURL\b|\.download\s*=|\bdownload=\{[^}]*[Uu]rl/, "downloads of what the page made: the desktop's web view has none; files are saved by lib/save.ts", (path) => !path.endsWith("lib/save.ts")],
  [/\btransition:|\bin:fly|\bout:fade|\banimate:/, "transitions that write style elements: the content security policy forbids them", () => true],
  [/\b(eval|new Function)\s*\(/, "code from text: the content security policy forbids it", () => true],
  [/\btoLocale(Date|Time)?String\(/, "dates and numbers go through lib/format.ts", () => true],
  [/>\s*[A-Z][a-z]+ [a-z]+[^<{]*</, "words: they stand in lib/text.ts", (path) => path.endsWith(".svelte")],
  [/(aria-label|title|placeholder|label|hint)="[A-Z]/, "words: they stand in lib/text.ts", (path) => path.endsWith(".svelte")],
];

function* files(directory) {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (statSync(path).isDirectory()) yield* files(path);
    else if (/\.(svelte|ts)$/.test(name) && name !== "schema.d.ts") yield path;
  }
}

let found = 0;
for (const path of files(source)) {
  const lines = readFileSync(path, "utf8").split("\n");
  lines.forEach((line, at) => {
    const code = line.replace(/<!--.*?-->/g, "").replace(/^\s*(\/\/|\*|\/\*).*$/, "");
    for (const [pattern, why, holds] of rules) {
      if (!holds(path) || !pattern.test(code)) continue;
      found += 1;
      console.error(`${path.slice(source.length + 1)}:${at + 1}: ${why}\n    ${line.trim()}`);
    }
  });
}
if (found > 0) process.exit(1);
