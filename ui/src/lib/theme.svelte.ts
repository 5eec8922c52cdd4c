/** Light, dark, or as the system has it; kept on this browser. `theme.js` applies it before the first paint. */
import { text } from "./text";

const KEY = "hearthkey.theme";
const ORDER = ["system", "light", "dark"] as const;
type Choice = (typeof ORDER)[number];

function kept(): Choice {
  try {
    const found = localStorage.getItem(KEY);
    return ORDER.find((choice) => choice === found) ?? "system";
  } catch {
    return "system";
  }
}

class Theme {
  choice = $state<Choice>(kept());

  get words(): string {
    return text.theme[this.choice];
  }

  turn(): void {
    this.choice = ORDER[(ORDER.indexOf(this.choice) + 1) % ORDER.length] ?? "system";
    if (this.choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = this.choice;
    try {
      localStorage.setItem(KEY, this.choice);
    } catch {
      // Storage is off: it holds until the page is left.
    }
  }
}

export const theme = new Theme();
