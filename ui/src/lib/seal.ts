/**
 * Checks, in this browser, that a record is in the log (RFC 6962 §2.1.1) under a signed checkpoint (C2SP signed-note,
 * tlog-proof).
 */

export type Checked = { ok: boolean; size: number };

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const equal = (a: Uint8Array, b: Uint8Array) => a.length === b.length && a.every((byte, i) => byte === b[i]);

async function sha256(...parts: (Uint8Array | number[])[]): Promise<Uint8Array> {
  const all = Uint8Array.from(parts.flatMap((part) => [...part]));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", all));
}

/** The root that follows from a leaf, its number and its path in a tree of this size; none if they do not fit. */
export async function rootOf(leaf: Uint8Array, index: number, size: number, path: Uint8Array[]): Promise<Uint8Array | null> {
  if (index >= size) return null;
  let hash = await sha256([0], leaf);
  let node = index;
  let last = size - 1;
  for (const sibling of path) {
    if (last === 0) return null;
    if (node % 2 === 1 || node === last) {
      hash = await sha256([1], sibling, hash);
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2);
        last = Math.floor(last / 2);
      }
    } else {
      hash = await sha256([1], hash, sibling);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 ? hash : null;
}

/** Whether one of a note's signatures is by this key: `name+hash+base64`, Ed25519. */
export async function isSigned(note: string, vkey: string): Promise<boolean> {
  const [name, id, ...rest] = vkey.trim().split("+");
  const key = bytesOf(rest.join("+"));
  const at = note.lastIndexOf("\n\n");
  if (!name || !id || key[0] !== 1 || at < 0) return false;
  const text = new TextEncoder().encode(note.slice(0, at + 1));
  const verifier = await crypto.subtle.importKey("raw", key.slice(1), "Ed25519", false, ["verify"]);
  for (const line of note.slice(at + 2).split("\n")) {
    const [dash, signer, signature] = line.split(" ");
    if (dash !== "—" || signer !== name || !signature) continue;
    const bytes = bytesOf(signature);
    const hash = [...bytes.slice(0, 4)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hash === id && (await crypto.subtle.verify("Ed25519", verifier, bytes.slice(4), text))) return true;
  }
  return false;
}

/** Checks a record by a proof and the log's public key. */
export async function check(record: string, seq: number, proof: string, vkey: string): Promise<Checked> {
  const lines = proof.split("\n");
  const blank = lines.indexOf("");
  const note = lines.slice(blank + 1).join("\n");
  const size = Number(lines[blank + 2]);
  const index = Number(lines[1]?.replace("index ", ""));
  const path = lines.slice(2, blank).map(bytesOf);
  const fits = lines[0] === "c2sp.org/tlog-proof@v1" && index === seq && Number.isSafeInteger(size);
  if (!fits) return { ok: false, size: 0 };
  const root = await rootOf(new TextEncoder().encode(record), seq, size, path);
  const told = bytesOf(lines[blank + 3] ?? "");
  return { ok: !!root && equal(root, told) && (await isSigned(note, vkey)), size };
}
