/** What a person does to devices, and how the gateway is asked: what it would do first, then to do it. */
import { call, type Schemas } from "../../lib/api/client";

export type Act = "rotate" | "suspend" | "resume" | "revoke" | "retire";

/** Devices in one request at most, as the contract has it. */
export const DEVICES_MAX = 1000;

export function preview(action: Act, devices: string[]): Promise<Schemas["BulkPreview"]> {
  return call((api) => api.POST("/api/v1/devices/preview", { body: { action, devices } }));
}

/** Only a revocation has a reason to choose. */
export function perform(action: Act, devices: string[], reason: string): Promise<Schemas["BulkOutcome"]> {
  const body = { action, devices, reason: action === "revoke" ? reason : undefined };
  return call((api) => api.POST("/api/v1/devices/bulk", { body }));
}
