// The first screen: what is wrong and the one step that mends it, who is connected, and security goals.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { House, invite, join_, violations } from "./house.mjs";

let house;
let page;

before(async () => {
  house = await House.open();
  page = await house.browser();
  await join_(page, house.setup, "anna");
  const add = (name, ...more) =>
    house.cli("credential", "add", name, "--env", "home", "--kind", "api-key", "--generate", "--owner", "anna", "--purpose", "automation", ...more);
  await add("hue/api-key");
  await add("ha/token", "--rotate-after-uses", "1");
  await house.agent(await house.claim("hall-lamp"), "hall-lamp");
});
after(() => house?.close());

const dialog = () => page.getByRole("dialog");
const need = (what) => page.locator("li", { hasText: what });
const connected = () => page.getByRole("region", { name: "Connected now" });
const goal = (name) => page.getByRole("meter", { name });

test("who is connected is listed with where from and since when, and goes when it goes", async () => {
  await page.goto(`${house.url}/`);
  const row = connected().getByRole("row", { name: /hall-lamp/ });
  await row.waitFor();
  assert.match(await row.textContent(), /127\.0\.0\.1:\d+/);
  await row.locator("time").waitFor();
  await house.cli("device", "suspend", "hall-lamp");
  await connected().getByText("No device is connected.").waitFor();
  await house.cli("device", "resume", "hall-lamp");
  await row.getByRole("link", { name: "hall-lamp" }).waitFor();
});

test("goals say in words and as a meter how far they are reached, and follow what happens", async () => {
  await house.claim("kitchen-plug");
  const keys = goal("Every device has its own key");
  await page.getByText("1 of 2 devices.").waitFor();
  assert.deepEqual([await keys.getAttribute("aria-valuenow"), await keys.getAttribute("aria-valuemax")], ["1", "2"]);
  await page.getByText(/Verified in this browser up to record \d+/).waitFor();
  await goal("Certificates renewed in time").waitFor();
  assert.equal(await goal("Credentials rotated on schedule").getAttribute("aria-valuetext"), "2 of 2 credentials.");
  await house.cli("credential", "reveal", "ha/token", "--env", "home");
  await page.getByText("1 of 2 credentials.").waitFor();
  assert.deepEqual(await violations(page), []);
});

test("what is due is rotated from where it is said", async () => {
  const due = need("It is due for rotation");
  await due.getByText("The longer a value is used").waitFor();
  await due.getByRole("button", { name: "Rotate now" }).click();
  await dialog().getByText("Both values work until every place of use is updated").waitFor();
  assert.deepEqual(await violations(page), []);
  await dialog().getByRole("button", { name: "Rotate now" }).click();
  await page.getByText("ha/token is being rotated.").waitFor();
  await due.waitFor({ state: "detached" });
});

test("a value that has leaked is critical, and is ended at once", async () => {
  await house.report({ kind: "leaked", credential: "home/hue/api-key", place: "/srv/notes.txt", what: "line 3" });
  await page.getByRole("heading", { name: "1 item needs attention now." }).waitFor();
  const leaked = need("Leaked: found in /srv/notes.txt");
  await leaked.getByText("Critical").waitFor();
  await leaked.getByRole("link", { name: "home/hue/api-key" }).waitFor();
  await leaked.getByRole("button", { name: "Rotate now" }).focus();
  await page.keyboard.press("Enter");
  await dialog().getByText("The old one is ended at once").waitFor();
  await dialog().getByRole("button", { name: "Rotate now" }).click();
  await leaked.waitFor({ state: "detached" });
});

test("what belongs to somebody who has gone is retired from where it is said", async () => {
  await house.cli("person", "invite", "dora", "--role", "operator");
  await house.agent(await house.claim("porch-camera", { owner: "dora" }), "porch-camera");
  await house.cli("person", "end", "dora");
  const orphan = need("No current owner: the former owner's access has ended: 1 device: porch-camera.");
  await orphan.getByText("High").waitFor();
  assert.equal(await orphan.getByRole("link", { name: "porch-camera" }).getAttribute("href"), "/devices/porch-camera");
  await connected().getByRole("link", { name: "porch-camera" }).waitFor();
  await orphan.getByRole("button", { name: "Retire porch-camera" }).click();
  await dialog().getByText("1 live session ends, 1 certificate is revoked.").waitFor();
  assert.deepEqual(await violations(page), []);
  await dialog().getByRole("button", { name: "Retire", exact: true }).click();
  await page.getByText("porch-camera is retired; 1 session dropped.").waitFor();
  await orphan.waitFor({ state: "detached" });
});

test("where more than one step is needed, the right screen is a step away", async () => {
  const key = need("The unlock key is stored next to the data");
  await key.getByRole("link", { name: "Show unlock methods" }).click();
  await page.getByText("Key file next to the database").first().waitFor();
  await page.goBack();
  await key.waitFor();
});

test("a credential is retired on its page, and says what ended with it", async () => {
  await house.cli("credential", "lease", "hue/api-key", "--env", "home", "--ttl", "1h");
  await page.goto(`${house.url}/vault/in/home/hue/api-key`);
  await page.locator("main header").getByRole("button", { name: "Retire" }).click();
  await dialog().getByLabel("Reason").fill("the bridge is sold");
  assert.deepEqual(await violations(page), []);
  await dialog().getByRole("button", { name: "Retire" }).click();
  await page.getByText(/hue\/api-key is retired; 1 lease ended, 0 tokens revoked\./).waitFor();
  await page.locator("main header").getByText("Retired").waitFor();
});

test("a person limited to an environment sees no goals of the whole home, and no actions without permission", async () => {
  const uma = await house.browser();
  await join_(uma, await invite(page, "uma", "developer", ["lab"]), null);
  await uma.getByRole("heading", { level: 1 }).waitFor();
  await uma.getByRole("heading", { name: "Needs action" }).waitFor();
  assert.equal(await uma.locator("[data-goal='anchor'], [data-goal='findings'], [data-goal='log']").count(), 0);
  const udo = await house.browser();
  await join_(udo, await invite(page, "udo", "auditor"), null);
  await udo.getByRole("meter", { name: "Audit log verified" }).waitFor();
  assert.equal(await udo.getByRole("button", { name: /Retire|Rotate|Accept/ }).count(), 0);
  assert.deepEqual([...uma.faults, ...udo.faults], []);
});

test("nothing went wrong in the page on the way", () => {
  assert.deepEqual(page.faults, []);
});
