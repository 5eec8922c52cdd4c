/**
 * Remedies as this interface shows them. The gateway words a remedy for every surface: a sentence that names a command
 * or a flag is for the command line, and a browser offers a place to open instead.
 */
import type { Problem } from "./api/client";
import { text } from "./text";

/** The sentences of a remedy, without those for the command line. */
export function inBrowser(remedy: string): string {
  const sentences = remedy.match(/(?:`[^`]*`|[^`])+?(?:[.!?](?=\s|$)|$)\s*/g) ?? [];
  return sentences.filter((sentence) => !/`|(?:^|\s)--[a-z]/.test(sentence)).join("").trim();
}

const LISTS: Record<string, string> = {
  device: "/devices",
  profile: "/settings/profiles",
  environment: "/settings/environments",
  person: "/settings/people",
  session: "/settings/sessions",
  credential: "/vault",
  bridge: "/vault/bridges",
  token: "/vault/tokens",
  lease: "/vault/leases",
  finding: "/",
};

/** The list to look in when a thing was not found; the contract names its kind in the title alone. */
export function placeToLook({ code, message }: Pick<Problem, "code" | "message">): { to: string; words: string } | null {
  const kind = code === "not_found" ? /^There is no ([a-z]+) /.exec(message)?.[1] : undefined;
  const to = kind && LISTS[kind];
  return kind && to ? { to, words: text.show[kind] ?? text.nav.home } : null;
}
