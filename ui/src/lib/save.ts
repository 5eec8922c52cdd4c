/** Files that a person keeps. The desktop's window saves by a command of its own: its web view has no downloads. */
import { Problem } from "./api/client";
import { isDesktop, saveFile } from "./desktop";
import { notices } from "./notices.svelte";
import { inBrowser } from "./remedy";
import { text } from "./text";

export async function save(name: string, content: string): Promise<void> {
  if (isDesktop) {
    try {
      notices.say(text.desktop.saved(await saveFile(name, content)));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      notices.warn(`${error.message} ${error.detail}. ${inBrowser(error.remedy)}`);
    }
    return;
  }
  const url = URL.createObjectURL(new Blob([content], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
