/** Audit records, as the log keeps them. */
export type Leaf = {
  action: string;
  actor: { name: string; role: string; session?: string; address?: string };
  details?: Record<string, unknown>;
  object: string;
  outcome: string;
  reason?: string;
  seq: number;
  time: string;
};

export function read(record: string): Leaf {
  return JSON.parse(record) as Leaf;
}

/** Where in the interface the object of a record is shown; none if nowhere. */
export function placeOf(object: string): string | null {
  const [kind, name] = [object.slice(0, object.indexOf(":")), object.slice(object.indexOf(":") + 1)];
  if (kind === "device") return `/devices/${encodeURIComponent(name)}`;
  if (kind === "credential" && name.split("/").length === 3) return `/vault/in/${name}`;
  if (kind === "token") return "/vault/tokens";
  if (kind === "person") return "/settings/people";
  return null;
}
