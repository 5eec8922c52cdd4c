// The owner's journey in the real desktop window: from a computer without a home to a device that is gone.
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, readdir, readlink, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { House, binary, endOf } from "./house.mjs";
import { Window, display } from "./window.mjs";

const PASSPHRASE = "ember lantern quilt meadow";
const axe = await readFile(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

let screen;
let directory;
let house;
let window;
let env;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "hearthkey-window-"));
  house = new House(directory);
  screen = await display();
  // A locale without a language: WebKit alone would show an empty window.
  env = { PATH: process.env.PATH, HOME: directory, DISPLAY: screen.name, LANG: "C" };
  window = await Window.open(["--data-dir", house.data, "--mqtt", "127.0.0.1:0", "--host", "localhost"], env);
});
after(async () => {
  await window?.close();
  await screen?.end();
  await house?.close();
});

/** Keeps a picture where they are asked for. */
async function picture(name) {
  const place = process.env.SCREENSHOTS;
  if (!place) return;
  await mkdir(place, { recursive: true });
  await writeFile(join(place, `desktop-${name}.png`), await window.picture());
}

/** The process whose command line names this home. */
async function pidOf(data) {
  for (const pid of await readdir("/proc")) {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (line.startsWith(binary("hearthkey-desktop")) && line.includes(data)) return pid;
  }
  throw new Error("the program does not run");
}

/** The TCP ports on which a process listens. */
async function listensOn(pid) {
  const handles = await readdir(`/proc/${pid}/fd`);
  const targets = await Promise.all(handles.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")));
  const tables = await Promise.all(["tcp", "tcp6"].map((name) => readFile(`/proc/net/${name}`, "utf8").catch(() => "")));
  const rows = tables.flatMap((table) => table.split("\n").slice(1).map((row) => row.trim().split(/\s+/)));
  return rows.filter((row) => row[3] === "0A" && targets.includes(`socket:[${row[9]}]`)).map((row) => row[1]);
}

async function violations() {
  await window.run(axe);
  return window.ask("POST", `${window.session}/execute/async`, {
    script: `const done = arguments[0];
      axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] })
        .then((found) => done(found.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.target.join(" ")))));`,
    args: [],
  });
}

const DIALOG = "//dialog";
const HEADER = "//main//header";
const state = (words) => window.find(`//main//*[contains(@class, "chip")][normalize-space() = "${words}"]`);

test("a computer without a home is given one, and its recovery code is kept as a file", async () => {
  await window.sees("Create a home");
  assert.deepEqual(await violations(), []);
  await picture("begin");
  await window.type("Name of the home", "Attic");
  await window.type("Passphrase", PASSPHRASE);
  await window.type("Repeat passphrase", PASSPHRASE);
  await window.press("Create home");
  await window.sees("Your home's recovery code");
  const code = await window.textOf("//ol//code");
  await window.press("Save as a file");
  await window.sees("Saved as ");
  const [name] = await readdir(join(directory, "Downloads"));
  const file = join(directory, "Downloads", name);
  assert.ok((await readFile(file, "utf8")).includes(code));
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  await window.click("//input[@type = 'checkbox']");
  await window.press("Continue");
  await window.sees("Set up in four steps");
  await picture("home");
});

test("a device is added and comes in while the window looks on", async () => {
  await window.press("Add a device", "//main");
  await window.type("Device", "hall-lamp");
  await window.type("Owner", "anna");
  await window.type("Purpose", "light in the hall");
  await window.press("Create enrollment code", DIALOG);
  await window.sees("Waiting for the device");
  const lines = await window.textOf("//pre[contains(@aria-label, 'with the agent')]");
  await house.agent(/HEARTHKEY_CLAIM='([^']+)'/.exec(lines)[1], "hall-lamp");
  await window.sees("Enrolled: the device has its own certificate.");
  await window.sees("Connected with its certificate.");
  await window.press("Show device", DIALOG);
  await state("Connected");
});

test("its seal is checked in the window itself", async () => {
  await window.press("Verify record");
  await window.sees("is in the signed log of");
  assert.deepEqual(await violations(), []);
  await picture("device");
});

async function letIn(device) {
  for (let tries = 0; tries < 100; tries += 1) {
    const { stdout } = await house.cli("--json", "device", "show", device);
    if (JSON.parse(stdout).state === "active") return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${device} stays suspended`);
}

test("it is rotated, suspended and let in again", async () => {
  for (const [act, sign] of [
    ["Rotate", () => window.sees("renewal 1")],
    ["Suspend", () => state("Suspended")],
    // An agent that is refused once more waits for ten minutes: it begins anew once the gateway lets it in.
    ["Resume", () => letIn("hall-lamp").then(() => house.restartAgent("hall-lamp")).then(() => state("Connected"))],
  ]) {
    await window.press(act, HEADER);
    await window.press(act, DIALOG);
    await sign();
  }
});

test("a value is revealed, and not before", async () => {
  await house.cli("credential", "add", "hue/api-key", "--env", "home", "--kind", "api-key", "--generate", "--owner", "anna", "--purpose", "automation");
  await window.press("Vault", "//nav");
  await window.press("hue/api-key");
  await window.press("Reveal", "//main");
  const value = await window.textOf("//pre[@aria-label = 'Value']");
  assert.ok(value.length >= 16);
  await window.press("Hide now");
});

test("it is revoked, its session drops, and its agent ends", async () => {
  const agent = house.children.at(-1);
  const ended = once(agent, "exit");
  await window.press("Devices", "//nav");
  await window.press("hall-lamp", "//main");
  await window.press("Revoke", HEADER);
  await window.press("Revoke", DIALOG);
  await window.sees("hall-lamp is revoked; 1 session dropped in");
  await state("Revoked");
  await window.find("//*[@data-sessions = '0']");
  await ended;
  await picture("revoked");
});

test("the command line shares the home with the window", async () => {
  const { stdout } = await house.cli("--json", "device", "show", "hall-lamp");
  assert.equal(JSON.parse(stdout).state, "revoked");
});

test("an activity is saved as a file, beside what is there", async () => {
  await window.press("Activity", "//nav");
  await window.press("Export these records");
  await window.sees("hearthkey-activity");
  const names = await readdir(join(directory, "Downloads"));
  assert.ok(names.includes("hearthkey-activity.jsonl"), names.join());
});

test("a window that was closed opens sealed, and by the passphrase alone", async () => {
  await window.close();
  await assert.rejects(stat(join(house.data, "hearthkey.sock")), "its socket is gone");
  window = await Window.open(["--data-dir", house.data, "--mqtt", "127.0.0.1:0", "--host", "localhost"], env);
  await window.sees("The gateway is sealed");
  await picture("sealed");
  await window.type("Passphrase or recovery code", "some other words");
  await window.press("Unseal");
  await window.sees("does not open with it");
  await window.type("Passphrase or recovery code", PASSPHRASE);
  await window.press("Unseal");
  await window.press("Devices", "//nav");
  await window.press("hall-lamp", "//main");
  await state("Revoked");
});

test("a home that another gateway has open is said to be so", async () => {
  const second = await Window.open(["--data-dir", house.data, "--mqtt", "127.0.0.1:0"], env);
  try {
    await second.sees("Another gateway runs on");
  } finally {
    await second.close();
  }
});

test("without a display the program says so and ends", () => {
  const bare = { PATH: process.env.PATH, HOME: directory, LANG: "C" };
  const said = spawnSync(binary("hearthkey-desktop"), ["--data-dir", house.data], { env: bare, encoding: "utf8" });
  assert.equal(said.status, 1);
  assert.match(said.stderr, /There is no display to open a window on/);
});

test("only the listener for devices is open; asked to end, the program closes its home and exits", async () => {
  await window.close();
  window = null;
  const child = spawn(binary("hearthkey-desktop"), ["--data-dir", house.data, "--mqtt", "127.0.0.1:0"], { env, stdio: "ignore" });
  while (!(await house.cli("status").then(() => true, () => false))) assert.equal(child.exitCode, null);
  // Under the driver, WebKit itself listens for it; here it does not.
  assert.equal((await listensOn(child.pid)).length, 0, "a sealed home has no listener");
  await promisify(execFile)(binary("hearthkey"), ["--data-dir", house.data, "unseal"], { env: { ...env, HEARTHKEY_PASSPHRASE: PASSPHRASE } });
  assert.equal((await listensOn(child.pid)).length, 1);
  await endOf(child);
  assert.equal(child.exitCode, 0);
  await assert.rejects(stat(join(house.data, "hearthkey.sock")), "its socket is gone");
});
