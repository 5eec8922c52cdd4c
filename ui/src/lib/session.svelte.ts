/** Who is asking, and what they may do. */
import { call, guardBy, Problem, type Schemas } from "./api/client";
import { notices } from "./notices.svelte";
import { text } from "./text";

export type Session = Schemas["SessionInfo"];

type StepUp = { settle: (shown: boolean) => void };

class Sessions {
  /** None before it is known; null where nobody is logged in. */
  now = $state<Session | null | undefined>(undefined);
  /** The gateway has no keys in memory, so nobody can log in. */
  sealed = $state(false);
  /** There is no home yet where the desktop's window looks for one. */
  homeless = $state(false);
  /** Why it is not known who is asking. */
  problem = $state<Problem | null>(null);
  /** A second factor is asked for. */
  stepUp = $state<StepUp | null>(null);

  constructor() {
    guardBy({
      csrf: () => this.now?.csrf ?? null,
      onLoggedOut: () => this.take(null),
      onSecondFactor: () => this.ask(),
    });
  }

  take(session: Session | null): void {
    this.now = session;
    this.problem = null;
  }

  may(act: string): boolean {
    return this.now?.may.includes(act) ?? false;
  }

  /** Finds out who is asking. */
  async look(): Promise<void> {
    try {
      this.take(await call((api) => api.GET("/api/v1/session")));
      this.sealed = this.homeless = false;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.homeless = error.code === "no_home";
      this.sealed = error.code === "gateway_sealed";
      if (this.homeless || this.sealed) return;
      if (error.status === 401) this.take(null);
      else this.problem = error;
    }
  }

  /** Logs out. If the gateway does not respond, the session is still open, and a notice says so. */
  async end(): Promise<void> {
    try {
      await call((api) => api.POST("/api/v1/session/end"));
      this.take(null);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status !== 401) notices.warn(`${text.stillIn} ${error.message}`);
    }
  }

  private ask(): Promise<boolean> {
    return new Promise((settle) => {
      this.stepUp?.settle(false);
      this.stepUp = {
        settle: (shown) => {
          this.stepUp = null;
          settle(shown);
        },
      };
    });
  }
}

export const session = new Sessions();
