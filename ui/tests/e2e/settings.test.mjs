// Who looks after the home: people come, change and go; login methods are added and removed; sessions are ended.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";
import { House, join_, violations } from "./house.mjs";

let house;
let page;
/** What dora logs in with, from when she has joined. */
let dora;

before(async () => {
  house = await House.open();
  page = await house.browser();
  await join_(page, house.setup, "anna");
});
after(() => house?.close());

/** The six digits an authenticator shows for this secret, `steps` half minutes from now (RFC 6238). */
function totp(secret, steps = 0) {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  const bits = [...secret.replace(/[^A-Z2-7]/g, "")].map((c) => letters.indexOf(c).toString(2).padStart(5, "0")).join("");
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const mac = createHmac("sha1", key).update(counter).digest();
  const at = mac[19] & 15;
  return String((mac.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, "0");
}

const row = (name) => page.locator("tbody tr", { hasText: name });
const dialog = () => page.getByRole("dialog");

test("somebody is invited by a link that is shown once", async () => {
  await page.goto(`${house.url}/settings/people`);
  await page.getByRole("button", { name: "Invite a person" }).click();
  await dialog().getByLabel("Name").fill("dora");
  await dialog().getByLabel("Role").selectOption("auditor");
  assert.deepEqual(await violations(page), []);
  await dialog().getByRole("button", { name: "Invite a person" }).click();
  const link = await dialog().locator("pre").textContent();
  assert.match(link, /\/join#\S+$/);
  assert.deepEqual(await violations(page), []);
  await page.keyboard.press("Escape");
  await row("dora").getByText("Invited").waitFor();
  dora = { link };
});

test("they join with a password and an authenticator, in a browser without passkeys", async () => {
  const there = await house.browser({ passkeys: false });
  dora.page = there;
  await there.goto(dora.link);
  await there.getByRole("radio", { name: /Password and code/ }).check();
  await there.getByLabel("Password", { exact: true }).fill("four random words here");
  await there.getByRole("button", { name: "Next" }).click();
  dora.secret = await there.locator("form code").textContent();
  assert.deepEqual(await violations(there), []);
  await there.getByLabel("Code from the app").fill(totp(dora.secret));
  await there.getByRole("button", { name: "Finish" }).click();
  await there.getByRole("heading", { name: "Your recovery kit" }).waitFor();
  dora.codes = await there.locator("ol code").allTextContents();
  assert.ok(await there.getByRole("button", { name: "Continue" }).isDisabled(), "a kit that is not kept lets nobody go on");
  await there.getByLabel(/I've saved these/).check();
  await there.getByRole("button", { name: "Continue" }).click();
  await there.getByRole("link", { name: "Activity" }).waitFor();
});

test("the list shows it without a reload", async () => {
  await row("dora").getByText("Active").waitFor();
  await row("dora").getByText(/password and code/).waitFor();
});

test("a person who lost every login method logs in with a recovery code, once", async () => {
  const there = dora.page;
  await there.getByRole("button", { name: "Log out" }).click();
  const enter = async (code) => {
    await there.getByLabel("Name").fill("dora");
    await there.getByLabel("Recovery code").fill(code);
    await there.getByRole("button", { name: "Log in", exact: true }).click();
  };
  await there.getByRole("button", { name: "Use a recovery code" }).click();
  await enter(dora.codes[0]);
  await there.getByRole("button", { name: "Log out" }).click();
  await there.getByRole("button", { name: "Use a recovery code" }).click();
  await enter(dora.codes[0]);
  await there.getByRole("alert").waitFor();
  assert.deepEqual(await violations(there), []);
  await enter(dora.codes[1]);
  await there.getByRole("button", { name: "Log out" }).waitFor();
  await there.goto(`${house.url}/settings/you`);
  await there.getByText("8 codes left.").waitFor();
});

test("a role changes, and what is shown changes with it", async () => {
  await row("dora").getByRole("button", { name: "Change role" }).click();
  await dialog().getByLabel("Role").selectOption("operator");
  assert.deepEqual(await violations(page), []);
  await dialog().getByRole("button", { name: "Done" }).click();
  await row("dora").getByText("Operator").waitFor();
});

test("a passkey is added, named and removed", async () => {
  await page.goto(`${house.url}/settings/you`);
  await page.getByText("This device").waitFor();
  // The same authenticator makes no second passkey for the same person: another one is plugged in.
  await page.devtools.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "usb", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  await page.getByLabel("Passkey name").fill("blue key");
  await page.getByRole("button", { name: "Add a passkey" }).click();
  const key = page.locator("li", { hasText: "blue key" });
  await key.getByRole("button", { name: "Remove" }).click();
  await dialog().getByText("It can no longer be used to log in.").waitFor();
  await dialog().getByRole("button", { name: "Remove" }).click();
  await key.waitFor({ state: "detached" });
});

test("new recovery codes end the old ones", async () => {
  await page.getByRole("button", { name: "Create new codes" }).click();
  await dialog().locator("ol code").first().waitFor();
  assert.equal(await dialog().locator("ol code").count(), 10);
  assert.deepEqual(await violations(page), []);
  await dialog().getByLabel(/I've saved these/).check();
  await dialog().getByRole("button", { name: "Continue" }).click();
  await dialog().waitFor({ state: "detached" });
});

test("a password is set with a code", async () => {
  await page.getByRole("button", { name: "Set a password" }).click();
  await dialog().getByLabel("Password", { exact: true }).fill("another four random words");
  await dialog().getByRole("button", { name: "Next" }).click();
  const secret = await dialog().locator("form code").textContent();
  await dialog().getByLabel("Code from the app").fill(totp(secret));
  await dialog().getByRole("button", { name: "Finish" }).click();
  await page.getByText("A password with a code is set.").waitFor();
});

test("another's session is ended, and they are out", async () => {
  await page.goto(`${house.url}/settings/sessions`);
  await row("anna").getByText("this one").waitFor();
  await row("dora").getByRole("button", { name: "End" }).click();
  await row("dora").waitFor({ state: "detached" });
  await dora.page.getByRole("heading", { name: "Welcome home" }).waitFor();
});

test("an environment is added, and what a kind of device may do can be read", async () => {
  await page.goto(`${house.url}/settings/environments`);
  await page.getByLabel("Name").fill("garage");
  await page.getByRole("button", { name: "Add an environment" }).click();
  await page.getByRole("link", { name: "garage" }).waitFor();
  await page.goto(`${house.url}/settings/profiles`);
  await page.getByText("generic", { exact: true }).click();
  await page.locator("pre", { hasText: "publish" }).first().waitFor();
});

test("the root is downloaded, and its fingerprint is that of the gateway's own machine", async () => {
  await page.goto(`${house.url}/settings/trust`);
  const told = (await house.cli("trust", "fingerprint")).stdout;
  const shown = await page.getByLabel("SHA-256 of the root").textContent();
  const plain = (text) => text.replace(/[^0-9a-f]/gi, "").toLowerCase();
  assert.ok(shown.length >= 64 && plain(told).includes(plain(shown)), `${told} is not ${shown}`);
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Root, PEM" }).click()]);
  assert.equal(file.suggestedFilename(), "hearthkey-root.pem");
});

test("a person whose access ended cannot log in", async () => {
  await page.goto(`${house.url}/settings/people`);
  await row("dora").getByRole("button", { name: "End access" }).click();
  await dialog().getByText("end at once").waitFor();
  await dialog().getByRole("button", { name: "End access" }).click();
  await page.getByText("The access of dora has ended.").waitFor();
  await row("dora").getByText("Ended").waitFor();
});

test("going back goes down again to where one was", async () => {
  await page.setViewportSize({ width: 1280, height: 400 });
  await page.goto(`${house.url}/settings/trust`);
  await page.getByText("Firefox", { exact: true }).waitFor();
  await page.mouse.wheel(0, 150);
  await page.waitForFunction(() => scrollY === 150);
  // Not by a click: the link is at the top, so it would scroll there first, and there is where one would come back to.
  await page.keyboard.press("g");
  await page.keyboard.press("a");
  await page.getByRole("heading", { name: "Activity" }).waitFor();
  await page.goBack();
  await page.waitForFunction(() => scrollY === 150);
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "MAIN");
});

test("Shift selects every row between", async () => {
  for (const id of ["lamp-a", "lamp-b", "lamp-c", "lamp-d"]) {
    await house.cli("device", "claim", id, "--profile", "generic", "--environment", "home", "--owner", "anna", "--purpose", "light");
  }
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.goto(`${house.url}/devices`);
  await page.locator("tr[data-row='0']").focus();
  await page.keyboard.press("Space");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Shift+Space");
  await page.getByText("3 devices selected").first().waitFor();
  await page.locator("tr[data-row='3']").getByRole("checkbox").click({ modifiers: ["Shift"] });
  await page.getByText("4 devices selected").first().waitFor();
});

test("a line that the browser does not copy is marked, and said so", async () => {
  await page.goto(`${house.url}/settings/trust`);
  await page.evaluate(() => (navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"))));
  await page.getByRole("button", { name: "Copy" }).first().click();
  await page.getByText("This browser does not allow copying.").waitFor();
  assert.equal(await page.evaluate(() => getSelection()?.toString()), "hearthkey trust fingerprint");
});

test("a browser that cannot check a signature says so, and accuses no record", async () => {
  await page.goto(`${house.url}/activity`);
  await page.locator("main").getByText("person.change").first().waitFor();
  await page.evaluate(() => (crypto.subtle.importKey = () => Promise.reject(new DOMException("no", "NotSupportedError"))));
  await page.locator("main").getByText("person.change").first().click();
  await page.getByRole("button", { name: "Verify record" }).first().click();
  await page.getByText("This browser cannot check the proof.").waitFor();
  assert.deepEqual(await violations(page), []);
});

test("the licenses of what is shipped are shipped", async () => {
  const told = await page.evaluate(async () => (await fetch("/licenses.txt")).text());
  for (const words of ["SIL OPEN FONT LICENSE", "svelte", "uplot"]) assert.ok(told.includes(words), words);
});

test("a person who cannot be logged out sees that they are still logged in", async () => {
  await page.context().setOffline(true);
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByText("You are still logged in.").waitFor();
  await page.context().setOffline(false);
});

test("nothing went wrong in the page on the way", () => {
  // What is refused while this browser is offline is the browser's own word.
  const faults = [...page.faults, ...dora.page.faults].filter((fault) => !fault.includes("ERR_INTERNET_DISCONNECTED"));
  assert.deepEqual(faults, []);
});

test("a person who seals the gateway sees the state that is known", async () => {
  await page.goto(`${house.url}/settings/gateway`);
  await page.getByRole("button", { name: "Seal the gateway" }).click();
  await dialog().getByRole("button", { name: "Seal the gateway" }).click();
  const sealed = page.getByRole("heading", { name: "The gateway is sealed" });
  await sealed.or(page.getByText("The gateway no longer responds.")).waitFor();
  assert.deepEqual(await violations(page), []);
  assert.match((await house.cli("status")).stdout, /sealed/);
});
