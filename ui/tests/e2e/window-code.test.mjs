// Once somebody has joined the home, the desktop window asks for a name and a code before it gives a critical value.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { House } from "./house.mjs";
import { Window, display } from "./window.mjs";

const DIALOG = "//dialog";
let screen;
let house;
let window;
let secret;

/** RFC 6238: six digits for 30 seconds, of a secret in base32. */
function code(base32, ahead) {
  const bits = [...base32].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + ahead));
  const tag = createHmac("sha1", key).update(step).digest();
  const at = tag[19] & 15;
  return String((tag.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

/** Asks the home as a page of its own in a browser does. */
async function post(url, path, body) {
  const ca = await readFile(join(house.directory, "ca.pem"));
  const { origin } = new URL(url);
  const asked = request(`${origin}${path}`, { method: "POST", ca, headers: { origin, "content-type": "application/json" } });
  asked.end(JSON.stringify(body));
  const [answer] = await once(asked, "response");
  const told = JSON.parse((await answer.toArray()).join(""));
  assert.equal(answer.statusCode, 200, JSON.stringify(told));
  return told;
}

/** Joins with a password, and gives the secret of the authenticator. */
async function joins(link, name) {
  const token = link.split("#")[1];
  const begin = { token, name, password: "four random words here" };
  const begun = await post(link, "/api/v1/invitations/password", begin);
  const confirm = { ceremony: begun.ceremony, code: code(begun.totp_secret, 0) };
  await post(link, "/api/v1/invitations/password/confirm", confirm);
  return begun.totp_secret;
}

before(async () => {
  house = await House.open();
  await house.cli("credential", "add", "hue/api-key", "--env", "home", "--kind", "api-key", "--generate", "--owner", "anna", "--purpose", "light", "--tier", "critical");
  secret = await joins(house.setup, "anna");
  await house.stop();
  screen = await display();
  const home = join(house.directory, "desktop");
  await mkdir(home);
  const env = { PATH: process.env.PATH, HOME: home, DISPLAY: screen.name, LANG: "C" };
  window = await Window.open(["--data-dir", house.data, "--mqtt", "127.0.0.1:0", "--host", "localhost"], env);
});
after(async () => {
  await window?.close();
  await screen?.end();
  await house?.close();
});

test("a critical value is shown in the window after a name and a code", async () => {
  await window.press("Vault", "//nav");
  await window.press("hue/api-key");
  await window.type("Reason", "to look at it");
  await window.press("Reveal", "//main");
  await window.sees("Confirm it's you");
  await window.type("Your name", "anna");
  await window.type("Code", "000000");
  await window.press("Confirm", DIALOG);
  await window.sees("Wrong code");
  await window.type("Code", code(secret, 1));
  await window.press("Confirm", DIALOG);
  const value = await window.textOf("//pre[@aria-label = 'Value']");
  assert.ok(value.length >= 16);
});
