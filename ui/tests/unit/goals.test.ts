import { expect, test, vi } from "vitest";
import { goalsOf, reached, type Known } from "../../src/screens/home/goals";

vi.stubGlobal("navigator", { language: "en" });
const finding = (kind: string, severity: string, what: string) =>
  ({ id: kind, kind, severity, object: "home:attic", what, remedy: "", why: "" }) as NonNullable<Known["posture"]>["findings"][number];
const calm: Known = {
  devices: { total: 4, connected: 1, by_state: { active: 3, pending: 1, revoked: 2 }, by_environment: {}, by_profile: {} },
  posture: { findings: [], accepted: [] },
  credentials: { active: 5, due: 2 },
  log: { ok: true, size: 9, at: new Date(0) },
};
const counted = (known: Known) => Object.fromEntries(goalsOf(known).map((goal) => [goal.id, [goal.done, goal.of]]));

test("each goal counts what is known, and those that are gone for good do not count", () => {
  expect(counted(calm)).toEqual({ keys: [3, 4], renewals: [3, 3], rotations: [3, 5], findings: [0, 0], anchor: [1, 1], log: [1, 1] });
  expect(goalsOf(calm).filter((goal) => !reached(goal)).map((goal) => goal.id)).toEqual(["keys", "rotations"]);
});

test("what is found is open until it is accepted, and shows its severity", () => {
  const late = finding("expiring", "high", "Missed their renewal: 2 devices: lamp, door.");
  const posture = { findings: [late, finding("backup-missing", "medium", "No backup.")], accepted: [finding("not-anchored", "high", "Missing.")] };
  const goals = goalsOf({ ...calm, posture });
  expect(counted({ ...calm, posture })).toMatchObject({ renewals: [1, 3], findings: [1, 3], anchor: [0, 1] });
  expect(goals.find((goal) => goal.id === "findings")?.told).toBe("Open: 1 high and 1 medium; 1 accepted.");
});

test("what is not known is no goal", () => {
  const nothing = { ...calm.devices, by_state: {} };
  expect(goalsOf({ devices: nothing, posture: null, credentials: null, log: null })).toEqual([]);
  const unread = { findings: [finding("expiring", "high", "Some did not renew.")], accepted: [] };
  expect(counted({ ...calm, posture: unread })).not.toHaveProperty("renewals");
});
