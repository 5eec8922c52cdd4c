/** Files that a person keeps. The desktop's window saves by a command of its own: its web view has no downloads. */
type Desktop = { core: { invoke: (command: string, args: Record<string, unknown>) => Promise<unknown> } };

export async function save(name: string, content: string): Promise<void> {
  const desktop = (globalThis as { __TAURI__?: Desktop }).__TAURI__;
  if (desktop) {
    await desktop.core.invoke("save_file", { name, content });
    return;
  }
  const url = URL.createObjectURL(new Blob([content], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
