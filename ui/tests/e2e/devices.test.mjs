// What is done to many devices at once is said before and after; where a device comes from is on its page.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { House, join_, violations } from "./house.mjs";

let house;
let page;

before(async () => {
  house = await House.open();
  page = await house.browser();
  await join_(page, house.setup, "anna");
  await house.agent(await house.claim("lamp-a", { purpose: "light" }), "lamp-a");
  await house.agent(await house.claim("lamp-b", { purpose: "light" }), "lamp-b");
  await house.claim("lamp-c", { purpose: "light" });
});
after(() => house?.close());

const dialog = () => page.getByRole("dialog");
const region = (name) => dialog().getByRole("region", { name });
const row = (name) => page.locator("tbody tr", { hasText: name });

/** Selects the first rows with the keyboard. */
async function select(count) {
  await page.locator("tr[data-row='0']").focus();
  await page.keyboard.press("Space");
  for (let at = 1; at < count; at += 1) await page.keyboard.press("ArrowDown");
  if (count > 1) await page.keyboard.press("Shift+Space");
  await page.getByText(`${count} device${count === 1 ? "" : "s"} selected`).first().waitFor();
}
const act = (name) => page.getByRole("region", { name: /selected/ }).getByRole("button", { name, exact: true });

test("what will happen to many is said before, and who is left out and why", async () => {
  await page.goto(`${house.url}/devices`);
  await page.getByText("Connected (2)").waitFor({ state: "attached" });
  await select(3);
  await act("Suspend").click();
  await dialog().getByText("2 devices will be suspended.").waitFor();
  await dialog().getByText("2 live sessions end.").waitFor();
  await dialog().getByText("1 device cannot be suspended and stays as it is.").waitFor();
  assert.match(await region("Not included").textContent(), /lamp-c\s*A device that is pending cannot be suspended/);
  assert.match(await region("What will happen").textContent(), /lamp-a\s*It is disconnected until it is resumed\. 1 live session ends\./);
  assert.deepEqual(await violations(page), []);
});

test("what is foreseen follows the devices while it is read", async () => {
  await house.cli("device", "suspend", "lamp-b");
  await dialog().getByText("1 live session ends.", { exact: true }).waitFor();
  await house.cli("device", "resume", "lamp-b");
  await dialog().getByText("2 live sessions end.").waitFor();
});

test("it is done with the keyboard, and said afterwards", async () => {
  const button = dialog().getByRole("button", { name: "Suspend", exact: true });
  for (let tabs = 0; tabs < 6 && !(await button.evaluate((one) => one === document.activeElement)); tabs += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText("2 devices are suspended; 2 sessions dropped.").waitFor();
  await dialog().waitFor({ state: "detached" });
  await row("lamp-a").getByText("Suspended").waitFor();
  await row("lamp-b").getByText("Suspended").waitFor();
  await row("lamp-c").getByText("Pending").waitFor();
});

test("what failed is said of each device, and can be tried again", async () => {
  await select(2);
  await act("Resume").click();
  await dialog().getByText("2 devices will be resumed.").waitFor();
  // Between what was foreseen and what is done, somebody else takes one of them back.
  await page.route("**/api/v1/devices/bulk", async (route) => {
    await house.cli("device", "revoke", "lamp-b", "--reason", "superseded");
    await route.continue();
  });
  await dialog().getByRole("button", { name: "Resume", exact: true }).click();
  await dialog().getByText("1 succeeded, 1 failed.").waitFor();
  await dialog().getByText("lamp-b", { exact: true }).waitFor();
  await dialog().getByText("A device that is revoked cannot be resumed.").waitFor();
  assert.deepEqual(await violations(page), []);
  await page.unroute("**/api/v1/devices/bulk");
  await dialog().getByText("Succeeded: 1 device").click();
  await region("Succeeded: 1 device").getByText("Active, 0 sessions dropped").waitFor();
  await dialog().getByRole("button", { name: "Retry 1 device" }).click();
  await dialog().getByText("0 devices will be resumed.").waitFor();
  assert.ok(await dialog().getByRole("button", { name: "Resume", exact: true }).isDisabled(), "nothing is left that could be done");
  await page.keyboard.press("Escape");
  await dialog().waitFor({ state: "detached" });
  await house.restartAgent("lamp-a");
  await row("lamp-a").getByText("Connected").waitFor();
});

test("the provenance of a device names who claimed it, its address and who approved its key", async () => {
  const generic = (await house.cli("profile", "show", "generic")).stdout;
  const file = join(house.directory, "careful.toml");
  await writeFile(file, generic.replace(/name = "generic"/, 'name = "careful"').replace("approval = false", "approval = true"));
  await house.cli("profile", "add", file);
  const enrolling = house.agent(await house.claim("front-door", { purpose: "lets people in", profile: "careful" }), "front-door");
  await page.goto(`${house.url}/`);
  await page.getByRole("link", { name: "Review key" }).click();
  const waits = page.getByRole("region", { name: "Key awaiting approval" });
  await waits.waitFor();
  const provenance = page.getByRole("region", { name: "How it enrolled" });
  await provenance.getByText("Not enrolled yet.").waitFor();
  await waits.getByRole("button", { name: "Approve" }).click();
  await enrolling;
  await provenance.getByText("person:anna").waitFor();
  const told = await provenance.locator("dl").first().textContent();
  assert.match(told, /Code created by\s*uid:\d+/);
  assert.match(told, /From\s*127\.0\.0\.1/);
  assert.match(told, /Profile\s*careful, home/);
  assert.match(told, /Key approved by\s*person:anna/);
  await provenance.getByRole("button", { name: "Verify record" }).click();
  await provenance.getByText(/is in the signed log of .* records/).waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("link", { name: "Show in Activity" }).click();
  await page.locator("main details", { hasText: "device.approve" }).first().waitFor();
});

test("a device that asked for no approval says so", async () => {
  await page.goto(`${house.url}/devices/lamp-a`);
  await page.getByText("Not required by profile").waitFor();
});

test("Shift selects also rows that are not here yet, and more than one request is about is not asked for", async () => {
  await house.claims(1100, "sensor");
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.goto(`${house.url}/devices?q=sensor`);
  await page.getByText("1,100 of").waitFor();
  await page.locator("tr[data-row='0']").focus();
  await page.keyboard.press("Space");
  await page.keyboard.press("End");
  await page.locator("tr[data-row='1099']:focus").waitFor();
  await page.keyboard.press("Shift+Space");
  const selected = page.getByRole("region", { name: "1,100 devices selected" });
  await selected.getByRole("button", { name: "Retire", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("alert").waitFor();
  assert.match(await dialog.textContent(), /1,100.*1,000/s);
  assert.equal(await dialog.getByRole("button", { name: "Retire" }).count(), 0);
  await page.keyboard.press("Escape");
  await page.locator("tr[data-row='1099']").getByRole("checkbox").click();
  for (let row = 1098; row >= 1090; row -= 1) await page.locator(`tr[data-row='${row}']`).getByRole("checkbox").click();
  await page.getByText("1,090 devices selected").first().waitFor();
});

test("nothing went wrong in the page on the way", () => {
  assert.deepEqual(page.faults, []);
});
