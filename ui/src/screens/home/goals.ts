/** Security goals, counted from what the gateway answers. What cannot be counted is no goal here. */
import type { Schemas } from "../../lib/api/client";
import { text } from "../../lib/text";
import { namedIn } from "./remedies";

export type Goal = {
  id: string;
  /** What is to be so. */
  says: string;
  /** How far it is so. */
  told: string;
  target: string;
  done: number;
  of: number;
};

export type Known = {
  devices: Schemas["DeviceSummary"];
  /** Findings of the whole home; none for a person limited to some environments. */
  posture: Schemas["Posture"] | null;
  /** Credentials in use, and how many of them are due. */
  credentials: { active: number; due: number } | null;
  /** The newest record, followed to the checkpoint by this browser. */
  log: { ok: boolean; size: number; at: Date } | null;
};

export const reached = (goal: Goal): boolean => goal.done >= goal.of;

export function goalsOf(known: Known): Goal[] {
  const { posture, credentials, log } = known;
  return [
    keys(known.devices),
    posture && renewals(known.devices, posture),
    credentials && rotations(credentials),
    posture && findings(posture),
    posture && anchor(posture),
    log && proof(log),
  ].filter((goal) => goal !== null);
}

const words = text.goals;

function keys({ by_state }: Schemas["DeviceSummary"]): Goal | null {
  const pending = by_state.pending ?? 0;
  const done = (by_state.active ?? 0) + (by_state.suspended ?? 0);
  const of = done + pending;
  return of === 0 ? null : { id: "keys", says: words.keys, told: words.devices(done, of), target: words.all, done, of };
}

/** One finding counts the devices that are late; one that cannot be read leaves the goal out. */
function renewals({ by_state }: Schemas["DeviceSummary"], posture: Schemas["Posture"]): Goal | null {
  const of = by_state.active ?? 0;
  const late = [...posture.findings, ...posture.accepted].find((finding) => finding.kind === "expiring");
  const count = late ? namedIn(late)?.count : 0;
  if (of === 0 || count === undefined) return null;
  const done = Math.max(0, of - count);
  return { id: "renewals", says: words.renewals, told: words.active(done, of), target: words.all, done, of };
}

function rotations({ active, due }: { active: number; due: number }): Goal | null {
  const done = active - due;
  return active === 0 ? null : { id: "rotations", says: words.rotations, told: words.credentials(done, active), target: words.all, done, of: active };
}

function findings({ findings: open, accepted }: Schemas["Posture"]): Goal {
  const severities = Object.entries(text.posture.severity).map(([severity, name]) => ({
    name: name.toLowerCase(),
    n: open.filter((finding) => finding.severity === severity).length,
  }));
  const told = words.open(severities.filter(({ n }) => n > 0), accepted.length);
  return { id: "findings", says: words.findings, told, target: words.noneOpen, done: accepted.length, of: open.length + accepted.length };
}

function anchor({ findings: open, accepted }: Schemas["Posture"]): Goal {
  const missing = [...open, ...accepted].some((finding) => finding.kind === "not-anchored");
  return { id: "anchor", says: words.anchor, told: missing ? words.anchorMissing : words.anchorFound, target: words.always, done: missing ? 0 : 1, of: 1 };
}

function proof({ ok, size, at }: { ok: boolean; size: number; at: Date }): Goal {
  return { id: "log", says: words.log, told: ok ? words.logProved(size, at) : text.device.broken, target: words.always, done: ok ? 1 : 0, of: 1 };
}
