/** Something that is fetched, kept while it is fetched again, and never overtaken by an older answer. */
import { Problem } from "./api/client";

export class Resource<T> {
  value = $state.raw<T | undefined>(undefined);
  problem = $state.raw<Problem | null>(null);
  loading = $state(false);
  private asked = 0;

  constructor(private readonly fetch: () => Promise<T>) {}

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
