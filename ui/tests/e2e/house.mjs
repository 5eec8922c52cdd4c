// A home of its own for each journey: the real gateway, a real browser that trusts the home's root, real devices.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { access, mkdtemp, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const run = promisify(execFile);
const target = process.env.CARGO_TARGET_DIR ?? new URL("../../../target", import.meta.url).pathname;
export const binary = (name) => process.env[`HEARTHKEY_BIN_DIR`] ? join(process.env.HEARTHKEY_BIN_DIR, name) : join(target, "debug", name);

/** How long anything may take before a journey gives up on it. */
export const PATIENCE_MS = 30_000;

/** Ends a program that was started here, and waits until it has. */
export async function endOf(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((done) => child.on("exit", done));
  child.kill("SIGTERM");
  await ended;
}

export class House {
  constructor(directory) {
    this.directory = directory;
    this.data = join(directory, "home");
    this.children = [];
    this.browsers = [];
  }

  /** Makes a home and runs its gateway on free ports; with a clock that can be set, if `faketime` names its library. */
  static async open({ faketime } = {}) {
    const house = new House(await mkdtemp(join(tmpdir(), "hearthkey-journey-")));
    house.environment = {};
    if (faketime) {
      await house.setClock("+0");
      house.environment = {
        LD_PRELOAD: faketime, FAKETIME_TIMESTAMP_FILE: join(house.directory, "clock"), FAKETIME_NO_CACHE: "1",
        DONT_FAKE_MONOTONIC: "1",
      };
    }
    await house.cli("init", "--home", "Journey", "--slot", "keyfile");
    await house.start();
    return house;
  }

  /** Runs the gateway; again on the ports that it had before. */
  async start() {
    const { mqtt = "127.0.0.1:0", http = "127.0.0.1:0" } = this;
    const child = spawn(
      binary("hearthkey"),
      ["--data-dir", this.data, "--json", "run", "--mqtt", mqtt, "--http", http, "--host", "localhost"],
      { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...this.environment } },
    );
    this.gateway = child;
    this.children.push(child);
    this.errors = "";
    child.stderr.on("data", (bytes) => (this.errors += bytes));
    await new Promise((ready, failed) => {
      let text = "";
      child.on("exit", (code) => failed(new Error(`the gateway ended with ${code}: ${this.errors}`)));
      child.stdout.on("data", (bytes) => {
        text += bytes;
        for (const line of text.split("\n")) {
          if (!line.endsWith("}")) continue;
          const said = JSON.parse(line);
          if (said.http) Object.assign(this, { mqtt: said.mqtt, http: said.http });
          if (said.setup) this.setup = said.setup;
        }
        if (text.includes('"ready"') && this.http) ready();
      });
    });
    this.url = `https://localhost:${this.http.split(":").at(-1)}`;
    const { stdout } = await this.cli("trust", "bundle");
    await writeFile(join(this.directory, "ca.pem"), stdout);
    // The link comes right after the gateway is ready; a home with an owner has none.
    if (!this.setup) this.setup = await this.cli("person", "setup-link").then((said) => said.stdout.trim(), () => undefined);
  }

  /** Stops the gateway. */
  stop() {
    return endOf(this.gateway);
  }

  /** Stops the gateway, sets its clock and runs it again: it was off for that long. */
  async sleep(offset) {
    await this.stop();
    await this.setClock(offset);
    await this.start();
  }

  /** Sets the gateway's clock, like `+301s`. */
  async setClock(offset) {
    const file = join(this.directory, "clock");
    await writeFile(`${file}.new`, `${offset}\n`);
    await rename(`${file}.new`, file);
  }

  cli(...args) {
    return run(binary("hearthkey"), ["--data-dir", this.data, ...args], { env: { ...process.env, NO_COLOR: "1" } });
  }

  /** A browser with a profile of its own that trusts the home, and a passkey authenticator in it. */
  async browser({ dark = false, width = 1280, height = 860, passkeys = true } = {}) {
    const home = await mkdtemp(join(this.directory, "browser-"));
    const nss = join(home, ".pki", "nssdb");
    await mkdir(nss, { recursive: true });
    await run("certutil", ["-d", `sql:${nss}`, "-N", "--empty-password"]);
    await run("certutil", ["-d", `sql:${nss}`, "-A", "-t", "C,,", "-n", "home", "-i", join(this.directory, "ca.pem")]);
    const context = await chromium.launchPersistentContext(join(home, "profile"), {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      headless: true,
      viewport: { width, height },
      colorScheme: dark ? "dark" : "light",
      locale: "en-GB",
      timezoneId: "UTC",
      env: { ...process.env, HOME: home },
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
      ],
    });
    context.setDefaultTimeout(PATIENCE_MS);
    this.browsers.push(context);
    await context.grantPermissions(["clipboard-write"], { origin: this.url }).catch(() => {});
    const page = context.pages()[0] ?? (await context.newPage());
    page.faults = [];
    page.on("pageerror", (error) => page.faults.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error" && !/status of (4|5)\d\d/.test(message.text())) page.faults.push(message.text());
    });
    const devtools = await context.newCDPSession(page);
    page.devtools = devtools;
    if (passkeys) {
      await devtools.send("WebAuthn.enable");
      const options = {
        protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true,
        isUserVerified: true, automaticPresenceSimulation: true,
      };
      await devtools.send("WebAuthn.addVirtualAuthenticator", { options });
    }
    return page;
  }

  /** Opens a claim on the command line, and gives what the agent takes. */
  async claim(device, { profile = "generic", owner = "anna", purpose = "light" } = {}) {
    const args = ["--profile", profile, "--environment", "home", "--owner", owner, "--purpose", purpose, "--json"];
    return JSON.parse((await this.cli("device", "claim", device, ...args)).stdout).uri;
  }

  /** Opens many claims at once: as many devices, which nobody enrolls. */
  async claims(count, prefix) {
    const one = (n) => this.local("/api/v1/claims", {
      device: `${prefix}-${n}`, profile: "generic", environment: "home", owner: "anna", purpose: "one of many", lifetime: "15m",
    });
    const all = Array.from({ length: count }, (_, n) => n);
    while (all.length > 0) await Promise.all(all.splice(0, 16).map(one));
  }

  /** Says on the gateway's own machine what a scan has seen: people in a browser report no findings. */
  async report(finding) {
    await this.local("/api/v1/findings", finding);
  }

  /** Asks on the gateway's own machine. */
  async local(path, body) {
    const headers = { host: "localhost", "content-type": "application/json" };
    const asked = request({ socketPath: join(this.data, "hearthkey.sock"), path, method: "POST", headers });
    asked.end(JSON.stringify(body));
    const [answer] = await once(asked, "response");
    const told = (await answer.toArray()).join("");
    if (answer.statusCode !== 200) throw new Error(told);
  }

  /** Enrolls a device with the real agent and keeps it running. */
  async agent(claim, name) {
    const directory = join(this.directory, name);
    const env = { ...process.env, ...this.environment, HEARTHKEY_CLAIM: claim };
    await run(binary("hearthkey-agent"), ["enroll", "--dir", directory], { env });
    return this.runAgent(name);
  }

  runAgent(name) {
    const env = { ...process.env, ...this.environment };
    const child = spawn(binary("hearthkey-agent"), ["run", "--dir", join(this.directory, name)], { stdio: "ignore", env });
    child.agent = name;
    this.children.push(child);
    return child;
  }

  /** Starts an agent again, as it says itself: it waits for minutes after it was refused. */
  async restartAgent(name) {
    const child = this.children.find((one) => one.agent === name);
    this.children.splice(this.children.indexOf(child), 1);
    await endOf(child);
    return this.runAgent(name);
  }

  async close() {
    for (const browser of this.browsers) await browser.close().catch(() => {});
    for (const child of this.children.reverse()) await endOf(child);
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** The library that makes a program's clock settable, if it is installed. */
export async function faketimeLibrary() {
  const machines = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
  for (const path of machines.map((machine) => `/usr/lib/${machine}/faketime/libfaketime.so.1`)) {
    if (await access(path).then(() => true, () => false)) return path;
  }
  return null;
}

/** Joins with a passkey, and keeps the recovery kit. */
export async function join_(page, link, name) {
  await page.goto(link);
  if (name) await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Create passkey" }).click();
  await page.getByRole("heading", { name: "Your recovery kit" }).waitFor();
  const codes = await page.locator("ol code").allTextContents();
  await page.getByLabel(/I've saved these/).check();
  await page.getByRole("button", { name: "Continue" }).click();
  return codes;
}

/** Has the owner of a page invite somebody: on the command line a role that sees values takes a code. */
export async function invite(page, name, role, environments = []) {
  return page.evaluate(async (body) => {
    const { csrf } = await (await fetch("/api/v1/session")).json();
    const headers = { "content-type": "application/json", "x-hearthkey-csrf": csrf };
    const answer = await fetch("/api/v1/people", { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()).url;
  }, { name, role, environments });
}

const axeSource = await readFile(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

/** What axe finds on a page, one line each. */
export async function violations(page) {
  // Not as a script of the page: its policy lets none in that is not the gateway's.
  const { devtools } = page;
  await devtools.send("Runtime.evaluate", { expression: axeSource });
  const { result } = await devtools.send("Runtime.evaluate", {
    expression: `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
      .then((found) => found.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + n.target.join(" ") + " " + n.failureSummary)))`,
    awaitPromise: true,
    returnByValue: true,
  });
  return result.value;
}
