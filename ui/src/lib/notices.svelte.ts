/** What was done, said once and for a while. */
const SHOWN_MS = 12_000;

class Notices {
  all = $state<{ id: number; words: string; failed: boolean }[]>([]);
  private next = 1;

  say(words: string): void {
    this.show(words, false);
  }

  /** For what failed where no screen is left that could say so. */
  warn(words: string): void {
    this.show(words, true);
  }

  private show(words: string, failed: boolean): void {
    const id = this.next++;
    this.all = [...this.all.slice(-2), { id, words, failed }];
    setTimeout(() => this.drop(id), SHOWN_MS);
  }

  drop(id: number): void {
    this.all = this.all.filter((notice) => notice.id !== id);
  }
}

export const notices = new Notices();
