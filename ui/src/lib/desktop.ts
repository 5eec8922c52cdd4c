/** The desktop's window, where the interface is shown in one: what only it can do. */
import { Problem } from "./api/client";
import { text } from "./text";

type Tauri = { core: { invoke: <T>(command: string, args: Record<string, unknown>) => Promise<T> } };

const tauri = (globalThis as { __TAURI__?: Tauri }).__TAURI__;

/** Whether the interface is shown in the window of the program that has the home. */
export const isDesktop = tauri !== undefined;

/** A home that was just made. */
export type Begun = { home: string; recovery_code: string; warning: string | null };

/** @throws Problem whatever goes wrong */
async function invoke<T>(command: string, args: Record<string, unknown>): Promise<T> {
  try {
    if (!tauri) throw new Error(text.desktop.none);
    return await tauri.core.invoke<T>(command, args);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    // "What it is. What to do": the shape of every error of the program.
    const [detail = "", remedy = ""] = said.split(/\. (?=[^.]*$)/);
    throw new Problem({ code: "desktop", status: 0, title: text.desktop.failed, detail, remedy });
  }
}

/** Makes the home that the window opens. Without a passphrase it opens with a key file. */
export function createHome(name: string, passphrase: string | null): Promise<Begun> {
  return invoke("create_home", { name, passphrase });
}

/** Saves a text among the person's downloads. Answers where. */
export function saveFile(name: string, content: string): Promise<string> {
  return invoke("save_file", { name, content });
}
