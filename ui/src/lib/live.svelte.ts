/** What happens, as it happens: one long poll for the whole interface, at the cursor where it was left. */
import { call, Problem, type Schemas } from "./api/client";

type Event = Schemas["Event"];
type Listener = { concerns: (happened: Happened) => boolean; hear: () => void };

/** What came with one answer. */
export type Happened = { records: Event[]; connections: boolean; findings: boolean; missed: boolean };

/** Seconds between attempts while nobody answers. */
const BACKOFF_S = [1, 2, 4, 8, 15];

class Live {
  /** Whether the gateway answers. */
  on = $state(true);
  private listeners = new Set<Listener>();
  private running: AbortController | null = null;

  /** Begins to listen, for as long as somebody is logged in. */
  begin(): () => void {
    const abort = new AbortController();
    this.running?.abort();
    this.running = abort;
    void this.follow(abort.signal);
    return () => abort.abort();
  }

  /** Calls `hear` whenever something happens that concerns it, until the returned function is called. */
  listen(concerns: (happened: Happened) => boolean, hear: () => void): () => void {
    const listener = { concerns, hear };
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private async follow(signal: AbortSignal): Promise<void> {
    let after: string | undefined;
    let failed = 0;
    while (!signal.aborted) {
      try {
        const cursor = after;
        const query = cursor ? { after: cursor, wait_s: 25 } : {};
        const told = await call((api) => api.GET("/api/v1/events", { params: { query }, signal }));
        // Screens may have been loaded before the first answer: what changed since is not reported by it.
        if (!cursor || failed > 0) this.tell({ records: [], connections: true, findings: true, missed: true });
        after = told.next;
        failed = 0;
        this.on = true;
        if (cursor && (told.records.length > 0 || told.connections || told.findings || told.missed)) this.tell(told);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem && error.status === 401) return;
        this.on = false;
        const wait = BACKOFF_S[Math.min(failed, BACKOFF_S.length - 1)] ?? 15;
        failed += 1;
        await new Promise((done) => setTimeout(done, wait * 1000));
      }
    }
  }

  private tell(happened: Happened): void {
    for (const listener of [...this.listeners]) {
      if (happened.missed || listener.concerns(happened)) listener.hear();
    }
  }
}

export const live = new Live();

/** Whether any record is about a thing of this kind, or about this one thing. */
export function about(...objects: string[]): (happened: Happened) => boolean {
  return ({ records }) => records.some((record) => objects.some((object) => record.object.startsWith(object)));
}

/** For devices: what is recorded about them, and their comings and goings. */
export function aboutDevices(...objects: string[]): (happened: Happened) => boolean {
  const recorded = about(...(objects.length > 0 ? objects : ["device:", "claim:", "certificate:"]));
  return (happened) => happened.connections || recorded(happened);
}
