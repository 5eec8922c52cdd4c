// The desktop's window under a display of its own, driven through WebKitWebDriver (W3C WebDriver 2).
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { PATIENCE_MS, binary, endOf } from "./house.mjs";

const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A display that nobody sees. */
export async function display() {
  const child = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  const [number] = await Promise.race([
    once(child.stdio[3], "data"),
    once(child, "exit").then(() => Promise.reject(new Error("Xvfb does not start"))),
  ]);
  return { name: `:${String(number).trim()}`, end: () => endOf(child) };
}

/** What a process has started, and what that has, and so on. */
async function descendants(pid) {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const below = children.split(" ").filter(Boolean).map(async (child) => [child, ...(await descendants(child))]);
  return (await Promise.all(below)).flat();
}

async function commandOf(pid) {
  return readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
}

/** XPath has no escapes: a text without both kinds of quotes. */
const quoted = (text) => (text.includes('"') ? `'${text}'` : `"${text}"`);

/** The program's window, until it is closed. */
export class Window {
  /** Starts the driver, which starts the program with these arguments. */
  static async open(args, env) {
    const window = new Window();
    const port = await freePort();
    // A session bus of its own: the desktop's is nobody's business here.
    const command = ["--", "WebKitWebDriver", `--port=${port}`, "--host=127.0.0.1"];
    window.driver = spawn("dbus-run-session", command, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...env, TAURI_WEBVIEW_AUTOMATION: "true" },
    });
    window.errors = "";
    window.driver.stderr.on("data", (bytes) => (window.errors += bytes));
    window.url = `http://127.0.0.1:${port}`;
    await window.listening();
    const options = { binary: binary("hearthkey-desktop"), args };
    const capabilities = { alwaysMatch: { "webkitgtk:browserOptions": options, timeouts: { implicit: PATIENCE_MS, script: PATIENCE_MS } } };
    const { sessionId } = await window.ask("POST", "/session", { capabilities });
    window.session = `/session/${sessionId}`;
    for (const pid of await descendants(window.driver.pid)) {
      if ((await commandOf(pid)).startsWith(options.binary)) window.pid = pid;
    }
    return window;
  }

  async listening() {
    for (;;) {
      if (this.driver.exitCode !== null) throw new Error(`the driver does not start: ${this.errors}`);
      const up = await fetch(`${this.url}/status`).then((answer) => answer.ok, () => false);
      if (up) return;
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  async ask(method, path, body) {
    const answer = await fetch(`${this.url}${path}`, { method, body: body && JSON.stringify(body) });
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${value.error}: ${value.message} ${JSON.stringify(body ?? "")}\n${this.errors}`);
    return value;
  }

  /** The first element at an XPath, once it is there. */
  async find(xpath) {
    const found = await this.ask("POST", `${this.session}/element`, { using: "xpath", value: xpath });
    return found[ELEMENT];
  }

  /** Clicks as soon as it can be clicked: what has just been drawn may be on its way to its place, or be drawn anew. */
  async click(xpath) {
    for (let left = 50; ; left -= 1) {
      const element = await this.find(xpath);
      try {
        return await this.ask("POST", `${this.session}/element/${element}/click`, {});
      } catch (error) {
        if (left === 0 || !/not interactable|stale element|intercepted/.test(error.message)) throw error;
        await sleep(100);
      }
    }
  }

  async type(label, text) {
    const element = await this.find(`//*[@id = //label[normalize-space() = ${quoted(label)}]/@for]`);
    await this.ask("POST", `${this.session}/element/${element}/value`, { text });
  }

  /** A button or a link that can be pressed. */
  press(name, within = "") {
    const named = `normalize-space() = ${quoted(name)}`;
    return this.click(`${within}//*[(self::button and not(@disabled)) or self::a][${named}]`);
  }

  /** Waits for a text to stand anywhere. */
  sees(text) {
    return this.find(`//*[text()[contains(normalize-space(), ${quoted(text)})]]`);
  }

  async textOf(xpath) {
    const element = await this.find(xpath);
    return this.ask("GET", `${this.session}/element/${element}/text`);
  }

  run(script, ...args) {
    return this.ask("POST", `${this.session}/execute/sync`, { script, args });
  }

  async picture() {
    return Buffer.from(await this.ask("GET", `${this.session}/screenshot`), "base64");
  }

  /** Tells the program to end, as a desktop does at log-out, and waits until it has. The driver's own way is to kill it. */
  async close() {
    const driving = await descendants(this.driver.pid);
    process.kill(Number(this.pid), "SIGTERM");
    while ((await commandOf(this.pid)) !== "") await new Promise((done) => setTimeout(done, 20));
    await this.ask("DELETE", this.session).catch(() => {});
    for (const pid of driving) {
      try {
        process.kill(Number(pid), "SIGTERM");
      } catch (error) {
        if (error.code !== "ESRCH") throw error;
      }
    }
    await endOf(this.driver);
  }
}
