import { expect, test, vi } from "vitest";
import { namedIn, remedyOf } from "../../src/screens/home/remedies";

vi.stubGlobal("navigator", { language: "en" });
const all = () => true;
const none = () => false;
/** Sentences as `crates/core/src/posture.rs` makes them. */
const named = (kind: string, object: string) => ({ kind: "any", object, what: "", remedy_action: { kind, object } });
const about = (kind: string, what: string) => ({ kind, object: "home:attic", what });
const unseen = about("never-used", "Not connected since enrollment: 7 devices: lamp-0, lamp-1, lamp-2, lamp-3, lamp-4 and 2 more.");

test("what a finding names is read from its sentence, and nothing from another's", () => {
  expect(namedIn(unseen)).toEqual({ noun: "device", names: ["lamp-0", "lamp-1", "lamp-2", "lamp-3", "lamp-4"], count: 7 });
  expect(namedIn(about("never-used", "Never used: 1 token: ci."))).toEqual({ noun: "token", names: ["ci"], count: 1 });
  for (const what of ["No backup yet.", "Seen: 3 devices: a, b.", "Seen: 1 person: anna."]) {
    expect(namedIn(about("never-used", what))).toBeNull();
  }
  expect(namedIn({ ...unseen, object: "place:/srv/notes: 1 device: lamp." })).toBeNull();
});

test("the one act that the gateway names is offered to a person who may do it", () => {
  expect(remedyOf(named("suspend", "device:lamp"), all)).toMatchObject({ does: "act", act: "suspend", devices: ["lamp"] });
  expect(remedyOf(named("suspend", "device:lamp"), none)).toBeNull();
  expect(remedyOf(named("narrow", "device:lamp"), all)).toMatchObject({ does: "narrow", device: "lamp" });
  const credential = { environment: "home", bridge: "hue", key: "api-key" };
  expect(remedyOf(named("rotate", "credential:home/hue/api-key"), all)).toMatchObject({ does: "rotate", credential, atOnce: false });
  expect(remedyOf(named("revoke", "token:ci"), all)).toMatchObject({ does: "end", token: "ci" });
  expect(remedyOf(named("reauthorize", "token:ci"), all)).toMatchObject({ does: "reauthorize", token: "ci" });
  const mayEnd = (act: string) => act === "token.end";
  expect(remedyOf(named("reauthorize", "token:ci"), mayEnd)).toMatchObject({ does: "go", to: "/vault/tokens" });
});

test("one step is offered where there is one, to a person who may take it", () => {
  expect(remedyOf(unseen, all)).toMatchObject({ does: "act", act: "retire", devices: ["lamp-0", "lamp-1", "lamp-2", "lamp-3", "lamp-4"] });
  expect(remedyOf(unseen, none)).toBeNull();
  expect(remedyOf(about("never-used", "Never used: 1 token: ci."), all)).toMatchObject({ does: "end", token: "ci" });
  expect(remedyOf(about("never-used", "Never used: 2 tokens: ci, nightly."), all)).toMatchObject({ does: "go", to: "/vault/tokens" });
  const leaked = { kind: "leaked", object: "credential:home/hue/api-key", what: "Leaked: found in a file." };
  const credential = { environment: "home", bridge: "hue", key: "api-key" };
  expect(remedyOf(leaked, all)).toMatchObject({ does: "rotate", credential, atOnce: true });
  expect(remedyOf({ ...leaked, kind: "due" }, all)).toMatchObject({ does: "rotate", credential, atOnce: false });
  expect(remedyOf({ ...leaked, object: "place:/srv/notes" }, all)).toBeNull();
  expect(remedyOf({ ...leaked, kind: "drift" }, none)).toMatchObject({ does: "go", to: "/vault/in/home/hue/api-key" });
  expect(remedyOf(about("never-used", "Never given out: 1 credential: home/hue/api-key."), all)).toMatchObject({ does: "retire", credential });
  expect(remedyOf(about("backup-missing", "No backup yet."), all)).toBeNull();
});
