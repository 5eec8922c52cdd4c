// The owner's journey, in a real browser against the real gateway: from the setup link to a device that is gone.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { House, invite, join_, violations } from "./house.mjs";

let house;
let page;

before(async () => {
  house = await House.open();
  page = await house.browser();
});
after(() => house?.close());

/** A chip of a device's state, as the screen shows it. */
const state = (words) => page.locator("main .chip", { hasText: new RegExp(`^${words}$`) }).first();

async function does(act) {
  await page.locator("main header").getByRole("button", { name: act, exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: act, exact: true }).click();
}

test("the first owner joins with a passkey and keeps the recovery kit", async () => {
  const codes = await join_(page, house.setup, "anna");
  assert.equal(codes.length, 10);
  await page.getByRole("heading", { level: 1 }).waitFor();
  assert.ok(!page.url().includes("#"), "the link's secret is not in the address");
  await page.getByRole("heading", { name: "Set up in four steps" }).waitFor();
});

test("what is not as it should be is accepted, and everything is in order", async () => {
  for (const what of ["The unlock key is stored next to the data", "No backup yet"]) {
    const need = page.locator("li", { hasText: what });
    await need.getByRole("button", { name: "Accept risk" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Reason").fill("it is a journey's home");
    await dialog.getByRole("button", { name: "Accept risk" }).click();
    await dialog.waitFor({ state: "detached" });
  }
  await page.getByRole("heading", { name: "Everything is in order." }).waitFor();
});

test("a device is added and comes in while the screen looks on", async () => {
  await page.getByRole("link", { name: "Add a device" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Device").fill("hall-lamp");
  await dialog.getByLabel("Purpose").fill("light in the hall");
  await dialog.getByRole("button", { name: "Create enrollment code" }).click();
  await dialog.getByText("Waiting for the device").waitFor();
  assert.deepEqual(await violations(page), []);
  const line = await dialog.getByLabel("On a Linux device, with the agent").textContent();
  const claim = /HEARTHKEY_CLAIM='([^']+)'/.exec(line)[1];
  await house.agent(claim, "hall-lamp");
  await dialog.getByText("Enrolled: the device has its own certificate.").waitFor();
  await dialog.getByText("Connected with its certificate.").waitFor();
  await dialog.getByRole("button", { name: "Show device" }).click();
  await state("Connected").waitFor();
});

test("its seal is checked by the browser itself", async () => {
  await page.getByRole("button", { name: "Verify record" }).click();
  await page.getByText(/is in the signed log of .* records/).waitFor();
});

test("its rights are narrowed to what it uses, and it comes back with them", async () => {
  await page.getByText(/\d+ uses?,/).first().waitFor();
  await page.getByRole("button", { name: "Reduce to what is used" }).click();
  const dialog = page.getByRole("dialog");
  assert.deepEqual(await violations(page), []);
  await dialog.getByRole("button", { name: "Reduce to what is used" }).click();
  await page.getByText("Permissions of hall-lamp reduced.").waitFor();
  await page.getByText("removed", { exact: true }).first().waitFor();
  await state("Connected").waitFor();
  await page.getByRole("button", { name: "Restore all permissions" }).click();
  await page.getByText("never used").first().waitFor();
  await state("Connected").waitFor();
});

test("it is rotated, and its new certificate appears", async () => {
  await does("Rotate");
  await page.getByText("renewal 1").waitFor();
});

test("it is suspended, its session drops at once, and it comes back when it may", async () => {
  await does("Suspend");
  await state("Suspended").waitFor();
  await page.locator('[data-sessions="0"]').waitFor();
  await does("Resume");
  await house.restartAgent("hall-lamp");
  await state("Connected").waitFor();
});

test("it is revoked, and gone", async () => {
  await page.locator("main header").getByRole("button", { name: "Revoke" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Reason").selectOption("key-compromise");
  assert.deepEqual(await violations(page), []);
  await dialog.getByRole("button", { name: "Revoke" }).click();
  await page.getByText(/hall-lamp is revoked; 1 session dropped in [\d.]+ ms/).waitFor();
  await state("Revoked").waitFor();
  await page.locator('[data-sessions="0"]').waitFor();
  await page.getByText("device.revoke").waitFor();
});

test("a value is revealed with a second factor, and not before", async () => {
  for (const [environment, name] of [["lab", "ha/token"], ["home", "hue/api-key"]]) {
    await house.cli("credential", "add", name, "--env", environment, "--kind", "api-key", "--generate", "--owner", "anna", "--purpose", "automation");
  }
  await page.goto(`${house.url}/vault`);
  await page.getByRole("link", { name: "hue/api-key" }).click();
  await page.getByRole("button", { name: "Reveal" }).waitFor();
  const before = await page.content();
  await page.getByRole("button", { name: "Reveal" }).click();
  const value = await page.locator('pre[aria-label="Value"]').textContent();
  assert.ok(value.length >= 16);
  assert.ok(!before.includes(value), "a value is not in the page before it was asked for");
  await page.getByRole("button", { name: "Hide now" }).click();
  assert.ok(!(await page.content()).includes(value), "nor after it was hidden");
});

test("a developer sees their environment alone, and an auditor no secret", async () => {
  const dora = await house.browser();
  await join_(dora, await invite(page, "dora", "developer", ["lab"]), null);
  await dora.getByRole("link", { name: "Vault" }).click();
  await dora.getByRole("link", { name: "ha/token" }).waitFor();
  assert.equal(await dora.getByRole("link", { name: "hue/api-key" }).count(), 0);
  assert.equal(await dora.getByRole("link", { name: "Activity" }).count(), 0);
  await dora.goto(`${house.url}/vault/in/home/hue/api-key`);
  await dora.getByText("Your role does not permit this.").waitFor();
  await dora.goto(`${house.url}/devices`);
  await dora.getByRole("heading", { name: "No device yet" }).waitFor();
  const udo = await house.browser();
  await join_(udo, await invite(page, "udo", "auditor"), null);
  await udo.goto(`${house.url}/vault/in/home/hue/api-key`);
  await udo.getByRole("heading", { name: "hue/api-key" }).waitFor();
  assert.equal(await udo.getByRole("button", { name: "Reveal" }).count(), 0);
  const path = "/api/v1/environments/home/reveal";
  const refused = await udo.evaluate(async (path) => {
    const { csrf } = await (await fetch("/api/v1/session")).json();
    const headers = { "content-type": "application/json", "x-hearthkey-csrf": csrf };
    const body = JSON.stringify({ names: ["hue/api-key"], use: "reveal" });
    return (await fetch(path, { method: "POST", headers, body })).status;
  }, path);
  assert.equal(refused, 403);
});

test("a hostile name is text, and nothing of it runs", async () => {
  const hostile = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`;
  await house.cli("device", "claim", "porch", "--profile", "generic", "--environment", "home", "--owner", hostile, "--purpose", hostile);
  await page.goto(`${house.url}/devices/porch`);
  await page.getByRole("heading", { name: "porch" }).waitFor();
  await page.getByText(hostile).first().waitFor();
  assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
});

test("the log says of itself that it is what was signed", async () => {
  await page.getByRole("link", { name: "Activity", exact: true }).click();
  await page.locator('[data-verified="true"]').waitFor();
  assert.deepEqual(await violations(page), []);
  await page.goBack();
});

test("a person logs out, and logs in again with the passkey", async () => {
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  await page.getByRole("heading", { name: "porch" }).waitFor();
});

test("nothing went wrong in the page on the way", () => {
  assert.deepEqual(page.faults, []);
});
