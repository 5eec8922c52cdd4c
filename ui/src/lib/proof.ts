/** A record of the log, checked by this browser: fetches the proof and the log's key, and follows the one with the other. */
import { call } from "./api/client";
import { check, type Checked } from "./seal";

/** @throws DOMException where the browser does not know the kind of signature */
export async function prove(seq: number, record: string): Promise<Checked> {
  const [proof, key] = await Promise.all([
    call((api) => api.GET("/api/v1/log/proof/{seq}", { params: { path: { seq } }, parseAs: "text" })),
    call((api) => api.GET("/api/v1/log/key")),
  ]);
  return check(record, seq, proof, key.vkey);
}

/** The newest record, checked; none where the log is empty or the browser cannot check. */
export async function proveNewest(): Promise<(Checked & { at: Date }) | null> {
  const { records } = await call((api) => api.GET("/api/v1/log/search", { params: { query: { limit: 1 } } }));
  const newest = records[0];
  if (!newest) return null;
  try {
    return { ...(await prove(newest.seq, newest.record)), at: new Date() };
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}
