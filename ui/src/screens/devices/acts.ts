/** What a person does to devices, and how the gateway is asked. */
import { call } from "../../lib/api/client";

export type Act = "rotate" | "suspend" | "resume" | "revoke" | "retire";
export type Done = { dropped: number; latencyUs: number | null; durable: boolean };

export async function act(what: Act, id: string, reason: string): Promise<Done> {
  const params = { path: { id } };
  if (what === "revoke") {
    const done = await call((api) => api.POST("/api/v1/devices/{id}/revoke", { params, body: { reason } }));
    return { dropped: done.sessions_dropped, latencyUs: done.latency_us, durable: done.durable };
  }
  const done = await call((api) => api.POST(`/api/v1/devices/{id}/${what}`, { params }));
  return { dropped: done.sessions_dropped, latencyUs: null, durable: true };
}
