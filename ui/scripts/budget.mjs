// The first load: the page, what it names, and what those import at once. 150 kB of gzip at most, fonts apart.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";

const BUDGET = 150_000;
const dist = new URL("../dist", import.meta.url).pathname;
const page = readFileSync(join(dist, "index.html"), "utf8");
const queue = [...page.matchAll(/(?:src|href)="\/([^"]+\.(?:js|css))"/g)].map((match) => match[1]);
const seen = new Set();
let bytes = gzipSync(page).length;

while (queue.length > 0) {
  const name = queue.shift();
  if (seen.has(name) || !existsSync(join(dist, name))) continue;
  seen.add(name);
  const content = readFileSync(join(dist, name));
  bytes += gzipSync(content, { level: 9 }).length;
  if (!name.endsWith(".js")) continue;
  for (const match of content.toString().matchAll(/(?:from|import)\s*"(\.\/[^"]+)"/g)) queue.push(join(dirname(name), match[1]));
}

console.log(`first load: ${bytes} bytes of gzip in ${seen.size} files (budget ${BUDGET})`);
if (bytes > BUDGET) process.exit(1);
