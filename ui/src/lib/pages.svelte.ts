/** A long list of which only the parts that are seen are fetched. */
import { Problem } from "./api/client";

const PAGE = 100;
/** Pages that are kept; those fetched longest ago go. */
const KEPT = 40;

export type Page<Row> = { rows: Row[]; total: number | null | undefined };
type Fetch<Row> = (offset: number, limit: number) => Promise<Page<Row>>;

export class Pages<Row> {
  total = $state(0);
  known = $state(false);
  loading = $state(false);
  problem = $state.raw<Problem | null>(null);
  private pages = $state.raw(new Map<number, Row[]>());
  private asked = new Set<number>();
  private round = 0;

  constructor(private readonly fetch: Fetch<Row>) {}

  at(index: number): Row | undefined {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** Sees to it that these rows come. */
  want(first: number, last: number): void {
    if (!this.known) return;
    for (let page = Math.floor(first / PAGE); page * PAGE < last; page += 1) {
      if (!this.pages.has(page)) void this.bring(page);
    }
  }

  /** These rows, of which those that are not here are fetched. */
  async rows(first: number, last: number): Promise<Row[]> {
    const rows: Row[] = [];
    for (let page = Math.floor(first / PAGE); page * PAGE <= last; page += 1) {
      const there = this.pages.get(page) ?? (await this.fetch(page * PAGE, PAGE)).rows;
      rows.push(...there.slice(Math.max(0, first - page * PAGE), last + 1 - page * PAGE));
    }
    return rows;
  }

  /** Fetches anew what is shown, without emptying it first. */
  async reload(): Promise<void> {
    this.round += 1;
    this.asked.clear();
    const kept = [...this.pages.keys()].slice(-3);
    await this.bring(0, true);
    for (const page of kept) if (page > 0 && page * PAGE < this.total) void this.bring(page);
  }

  /** Begins anew, with nothing kept. */
  async reset(): Promise<void> {
    this.round += 1;
    this.asked.clear();
    await this.bring(0, true);
  }

  private async bring(page: number, alone = false): Promise<void> {
    if (this.asked.has(page)) return;
    const round = this.round;
    this.asked.add(page);
    this.loading = true;
    try {
      const { rows, total } = await this.fetch(page * PAGE, PAGE);
      if (round !== this.round) return;
      const pages = alone ? new Map<number, Row[]>() : new Map(this.pages);
      pages.delete(page);
      pages.set(page, rows);
      for (const old of pages.keys()) {
        if (pages.size <= KEPT) break;
        pages.delete(old);
      }
      this.pages = pages;
      if (typeof total === "number") this.total = total;
      this.known = true;
      this.problem = null;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (round === this.round) this.problem = error;
    } finally {
      this.asked.delete(page);
      this.loading = this.asked.size > 0;
    }
  }
}
