/** Which screen a path shows. Each is fetched when it is first needed. */
import type { Component } from "svelte";
import type { IconName } from "./components/Icon.svelte";
import { text } from "./text";

type Loaded = { default: Component<{ params: string[] }> };
type Screen = { pattern: RegExp; title: (params: string[]) => string; load: () => Promise<Loaded> };

const name = (part: string | undefined) => decodeURIComponent(part ?? "");
const cast = (loaded: unknown) => loaded as Loaded;

const screens: Screen[] = [
  { pattern: /^\/$/, title: () => text.home.title, load: async () => cast(await import("../screens/Home.svelte")) },
  { pattern: /^\/devices$/, title: () => text.devices.title, load: async () => cast(await import("../screens/Devices.svelte")) },
  { pattern: /^\/devices\/([^/]+)$/, title: ([id]) => name(id), load: async () => cast(await import("../screens/Device.svelte")) },
  { pattern: /^\/vault(?:\/(leases|tokens|bridges))?$/, title: () => text.vault.title, load: async () => cast(await import("../screens/Vault.svelte")) },
  { pattern: /^\/vault\/in\/([^/]+)\/([^/]+)\/([^/]+)$/, title: ([, bridge, key]) => `${name(bridge)}/${name(key)}`, load: async () => cast(await import("../screens/Credential.svelte")) },
  { pattern: /^\/activity$/, title: () => text.activity.title, load: async () => cast(await import("../screens/Activity.svelte")) },
  { pattern: /^\/settings(?:\/([a-z]+))?$/, title: () => text.settings.title, load: async () => cast(await import("../screens/Settings.svelte")) },
];

const missing: Screen = { pattern: /^/, title: () => text.missing.title, load: async () => cast(await import("../screens/Missing.svelte")) };

/** The screen of a path, with what the path names. */
export function screenAt(path: string): { screen: Screen; params: string[] } {
  for (const screen of screens) {
    const match = screen.pattern.exec(path);
    if (match) return { screen, params: match.slice(1).map((part) => (part === undefined ? "" : decodeURIComponent(part))) };
  }
  return { screen: missing, params: [] };
}

/** The main screens, in order, with the act that shows them and the key that goes there. */
export const places: { path: string; label: string; icon: IconName; act: string; key: string }[] = [
  { path: "/", label: text.nav.home, icon: "home", act: "home.read", key: "h" },
  { path: "/devices", label: text.nav.devices, icon: "devices", act: "device.read", key: "d" },
  { path: "/vault", label: text.nav.vault, icon: "vault", act: "credential.read", key: "v" },
  { path: "/activity", label: text.nav.activity, icon: "activity", act: "log.read", key: "a" },
  { path: "/settings", label: text.nav.settings, icon: "settings", act: "home.read", key: "s" },
];
