/**
 * What the interface can do about something that needs somebody, in one step. It is an offer and no decision: whatever
 * it leads to says by itself what will happen, and asks before.
 */
import type { Schemas } from "../../lib/api/client";
import { placeOf } from "../../lib/records";
import { text } from "../../lib/text";
import type { Act } from "../devices/acts";

type Need = Pick<Schemas["Need"], "kind" | "object" | "what" | "remedy_action">;
type Action = NonNullable<Need["remedy_action"]>;
export type CredentialPath = { environment: string; bridge: string; key: string };
export type Remedy = { words: string } & (
  | { does: "act"; act: Act; devices: string[] }
  | { does: "rotate"; credential: CredentialPath; atOnce: boolean }
  | { does: "retire"; credential: CredentialPath }
  | { does: "narrow"; device: string; keep: NonNullable<Action["keep"]> }
  | { does: "end"; token: string }
  | { does: "reauthorize"; token: string }
  | { does: "go"; to: string }
);

/** Things of which the same is wrong: the first of them by name, and how many there are. */
export type Named = { noun: "device" | "credential" | "token"; names: string[]; count: number };

/**
 * What a finding about many things names, like `Never used: 2 tokens: ci, nightly.` The contract has the names
 * in this sentence alone; one that reads otherwise names nothing, and then nothing is offered.
 */
export function namedIn({ object, what }: Need): Named | null {
  const found = /: (\d+) (device|credential|token)s?: (\S.*?)(?: and (\d+) more)?\.$/.exec(what);
  if (!object.startsWith("home:") || !found) return null;
  const names = (found[3] ?? "").split(", ");
  const count = Number(found[1]);
  if (names.length + Number(found[4] ?? 0) !== count) return null;
  return { noun: found[2] as Named["noun"], names, count };
}

function credentialOf(object: string): CredentialPath | null {
  const [environment, bridge, key, ...more] = object.replace(/^credential:/, "").split("/");
  return environment && bridge && key && more.length === 0 ? { environment, bridge, key } : null;
}

/** The one act that the gateway names, as the interface does it; none if a person may not, or it has no way to. */
function remedyNamed({ kind, object, keep = [] }: Action, may: (act: string) => boolean): Remedy | null {
  const at = object.indexOf(":");
  const [thing, name] = [object.slice(0, at), object.slice(at + 1)];
  if (thing === "device" && may("device.change")) {
    if (kind === "narrow") return { does: "narrow", device: name, keep, words: text.remedy.narrow(name) };
    const acts: Act[] = ["rotate", "suspend", "retire", "revoke"];
    const act = acts.find((act) => act === kind);
    return act ? { does: "act", act, devices: [name], words: text.act[act].title(name).replace("?", "") } : null;
  }
  const credential = thing === "credential" ? credentialOf(object) : null;
  if (credential && kind === "rotate" && may("credential.rotate")) {
    return { does: "rotate", credential, atOnce: false, words: text.credential.rotate };
  }
  if (credential && kind === "retire" && may("credential.retire")) {
    return { does: "retire", credential, words: text.remedy.retire(name, 1, 1) };
  }
  if (thing === "token" && kind === "revoke" && may("token.end")) return { does: "end", token: name, words: text.remedy.end(name) };
  if (thing === "token" && kind === "reauthorize" && may("token.create")) {
    return { does: "reauthorize", token: name, words: text.remedy.reauthorize(name) };
  }
  return thing === "token" ? { does: "go", to: "/vault/tokens", words: text.remedy.tokens } : null;
}

/** What can be done about it in one step; none if a person has to do more, or may not. */
export function remedyOf(need: Need, may: (act: string) => boolean): Remedy | null {
  const action = need.remedy_action;
  // What has leaked is rotated at once, which the kind alone says.
  if (action && need.kind !== "leaked") return remedyNamed(action, may);
  const place = placeOf(need.object);
  const credential = need.object.startsWith("credential:") ? credentialOf(need.object) : null;
  const named = namedIn(need);
  switch (need.kind) {
    case "approval":
      return place ? { does: "go", to: place, words: text.remedy.approve } : null;
    case "due":
    case "expired":
    case "reused":
    case "shared-across-environments":
    case "leaked":
      if (!credential || !may("credential.rotate")) return null;
      return { does: "rotate", credential, atOnce: need.kind === "leaked", words: text.credential.rotate };
    case "drift":
    case "rotation-held":
    case "leftover":
    case "not-told":
      return place ? { does: "go", to: place, words: text.remedy.credential } : null;
    case "orphaned":
    case "never-used":
      return named ? remedyOfNamed(need.kind, named, may) : null;
    case "expiring":
      return { does: "go", to: "/devices?state=active&sort=not_after", words: text.remedy.expiring };
    case "ca-life":
      return { does: "go", to: "/settings/environments", words: text.remedy.environments };
    case "key-file":
      return { does: "go", to: "/settings/gateway", words: text.remedy.gateway };
    default:
      return null;
  }
}

function remedyOfNamed(kind: string, { noun, names, count }: Named, may: (act: string) => boolean): Remedy | null {
  const first = names[0] ?? "";
  if (noun === "device" && may("device.change")) {
    return { does: "act", act: "retire", devices: names, words: text.remedy.retire(first, names.length, count) };
  }
  if (noun === "token" && may("token.end")) {
    if (count > 1) return { does: "go", to: "/vault/tokens", words: text.remedy.tokens };
    return { does: "end", token: first, words: text.remedy.end(first) };
  }
  const credential = noun === "credential" && kind === "never-used" && count === 1 ? credentialOf(first) : null;
  if (!credential || !may("credential.retire")) return null;
  return { does: "retire", credential, words: text.remedy.retire(first, 1, 1) };
}
