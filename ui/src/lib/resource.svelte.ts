/** Something that is fetched, kept while it is fetched again, and never overtaken by an older answer. */
import { Problem } from "./api/client";

export class Resource<T> {
  value = $state.raw<T | undefined>(undefined);
  problem = $state.raw<Problem | null>(null);
  loading = $state(false);
  private asked = 0;

  constructor(private readonly fetch: () => Promise<T>) {}

  /** Takes what came with another answer; what was asked for before it is older, and overtakes it no more. */
  take(value: T | undefined): void {
    this.asked += 1;
    this.loading = false;
    this.value = value;
    this.problem = null;
  }

  async load(): Promise<void> {
    const number = ++this.asked;
    this.loading = true;
    try {
      const value = await this.fetch();
      if (number !== this.asked) return;
      this.value = value;
      this.problem = null;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (number === this.asked) this.problem = error;
    } finally {
      if (number === this.asked) this.loading = false;
    }
  }
}

/** Does something once, and keeps what went wrong. */
export class Deed {
  busy = $state(false);
  problem = $state.raw<Problem | null>(null);

  async run(deed: () => Promise<void>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    this.problem = null;
    try {
      await deed();
      return true;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.problem = error;
      return false;
    } finally {
      this.busy = false;
    }
  }
}
