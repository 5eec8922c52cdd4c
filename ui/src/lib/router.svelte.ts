/** Where in the interface one is: paths of the history, the same at https://host/ and hearthkey://localhost/. */
import { tick } from "svelte";

/** How long what one comes back to may take to be as long as it was. */
const GROWS_MS = 2000;

class Router {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));

  /** Where one is in the history, and how far down each place in it was. */
  private entry = Number((history.state as { entry?: number } | null)?.entry ?? 0);
  private readonly depths = new Map<number, number>();

  constructor() {
    addEventListener("popstate", (event) => this.comeBack(event));
    addEventListener("scroll", () => this.depths.set(this.entry, scrollY), { passive: true });
    addEventListener("click", (event) => this.follow(event));
  }

  private read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }

  /** Goes to a screen; `replace` where going back should not come here again. */
  go(to: string, replace = false): void {
    if (!replace) {
      // The latest scroll event may not have been handled yet.
      this.depths.set(this.entry, scrollY);
      this.entry += 1;
    }
    history[replace ? "replaceState" : "pushState"]({ entry: this.entry }, "", to);
    this.read();
    if (!replace) {
      this.depths.delete(this.entry);
      scrollTo(0, 0);
      this.focus();
    }
  }

  private focus(): void {
    void tick().then(() => document.querySelector<HTMLElement>("main")?.focus({ preventScroll: true }));
  }

  /** Goes down again to where one was, once what is fetched anew is that long; not against who scrolls meanwhile. */
  private comeBack(event: PopStateEvent): void {
    this.entry = Number((event.state as { entry?: number } | null)?.entry ?? 0);
    const { entry } = this;
    const depth = this.depths.get(entry) ?? 0;
    const until = performance.now() + GROWS_MS;
    const left = this.path !== location.pathname;
    this.read();
    if (left) this.focus();
    if (depth === 0) return;
    const quit = new AbortController();
    for (const moves of ["wheel", "touchstart", "keydown", "pointerdown"]) {
      addEventListener(moves, () => quit.abort(), { passive: true, signal: quit.signal });
    }
    const down = () => {
      if (quit.signal.aborted || entry !== this.entry) return;
      scrollTo(0, depth);
      if (Math.abs(scrollY - depth) < 2 || performance.now() > until) quit.abort();
      else requestAnimationFrame(down);
    };
    requestAnimationFrame(down);
  }

  /** Sets what is filtered by, without another entry in the history. */
  filter(values: Record<string, string | null | undefined>): void {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(values)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    const text = query.toString();
    this.go(text ? `${this.path}?${text}` : this.path, true);
  }

  private follow(event: MouseEvent): void {
    const link = (event.target as Element | null)?.closest?.("a");
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute("download")) return;
    if (link.origin !== location.origin || /^\/(api|\.well-known)\//.test(link.pathname)) return;
    event.preventDefault();
    if (link.hash && link.pathname === location.pathname) {
      document.querySelector<HTMLElement>(link.hash)?.focus();
      return;
    }
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();
