// A second factor is good for five minutes of the gateway's own clock, which is set forward here.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { House, faketimeLibrary, join_, violations } from "./house.mjs";

const faketime = await faketimeLibrary();
const skip = faketime ? false : "libfaketime is missing (Debian package faketime)";
let house;
after(() => house?.close());

test("a value is revealed after five minutes only by showing the passkey again", { skip }, async () => {
  house = await House.open({ faketime });
  const page = await house.browser();
  await join_(page, house.setup, "anna");
  await house.cli("credential", "add", "hue/api-key", "--env", "home", "--kind", "api-key", "--generate", "--owner", "anna", "--purpose", "light");
  await house.setClock("+301s");
  await page.goto(`${house.url}/vault/in/home/hue/api-key`);
  await page.getByRole("button", { name: "Reveal" }).click();
  const dialog = page.getByRole("dialog", { name: "Confirm it's you" });
  await dialog.waitFor();
  assert.deepEqual(await violations(page), []);
  await page.keyboard.press("Escape");
  await page.getByText("A second factor is needed.").waitFor();
  await page.getByRole("button", { name: "Reveal" }).click();
  await dialog.getByRole("button", { name: "Use a passkey" }).click();
  await page.locator('pre[aria-label="Value"]').waitFor();
  assert.deepEqual(page.faults, []);
});
