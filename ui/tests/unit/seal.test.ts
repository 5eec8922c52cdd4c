import { expect, test } from "vitest";
import { rootOf } from "../../src/lib/seal";

const hash = async (...parts: number[][]) => new Uint8Array(await crypto.subtle.digest("SHA-256", Uint8Array.from(parts.flat())));
const leaf = (n: number) => Uint8Array.from([n]);

/** The tree of RFC 6962 §2.1 and the path of a leaf in it, made the plain way. */
async function tree(leaves: Uint8Array[], index: number): Promise<{ root: Uint8Array; path: Uint8Array[] }> {
  if (leaves.length === 1) return { root: await hash([0], [...(leaves[0] ?? [])]), path: [] };
  let half = 1;
  while (half * 2 < leaves.length) half *= 2;
  const left = await tree(leaves.slice(0, half), index < half ? index : 0);
  const right = await tree(leaves.slice(half), index < half ? 0 : index - half);
  const root = await hash([1], [...left.root], [...right.root]);
  return index < half ? { root, path: [...left.path, right.root] } : { root, path: [...right.path, left.root] };
}

test("a path leads from each leaf to the root, in trees of every shape", async () => {
  for (let size = 1; size <= 20; size += 1) {
    const leaves = Array.from({ length: size }, (_, n) => leaf(n));
    for (let index = 0; index < size; index += 1) {
      const { root, path } = await tree(leaves, index);
      expect(await rootOf(leaf(index), index, size, path)).toEqual(root);
      expect(await rootOf(leaf(index + 100), index, size, path)).not.toEqual(root);
      if (path.length > 0) expect(await rootOf(leaf(index), index, size, path.slice(1))).not.toEqual(root);
      expect(await rootOf(leaf(index), index, size, [...path, root])).toBeNull();
    }
  }
});

test("a leaf beyond the tree has no root", async () => {
  expect(await rootOf(leaf(0), 3, 3, [])).toBeNull();
});
