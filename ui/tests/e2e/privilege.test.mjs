// What a device may do and has not done for a month is found, and removed from Home; a token that is held is authorized again.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { House, faketimeLibrary, join_, violations } from "./house.mjs";

const faketime = await faketimeLibrary();
const skip = faketime ? false : "libfaketime is missing (Debian package faketime)";
const LASTING = `certificate_lifetime_days = 398
grace_days = 30
keys = ["p256"]
[[publish]]
topic = "devices/{device}/#"
reason = "r"
`;
let house;
after(() => house?.close());

test("rights that were not used for a month are removed from Home, in one step", { skip }, async () => {
  house = await House.open({ faketime });
  const page = await house.browser();
  await join_(page, house.setup, "anna");
  const profile = join(house.directory, "lasting.toml");
  await writeFile(profile, `name = "lasting"\ndescription = "what lasts"\n${LASTING}`);
  await house.cli("profile", "add", profile);
  await house.agent(await house.claim("hall-lamp", { profile: "lasting" }), "hall-lamp");
  await house.cli("token", "create", "ci", "--env", "home", "--allow", "*:list", "--out", join(house.directory, "ci.token"));
  // Used once: one that never was is to be revoked instead.
  await house.cli("--token-file", join(house.directory, "ci.token"), "token", "whoami");
  await house.sleep("+31d");
  // A clock that has leapt is believed when a person says so.
  await house.cli("clock", "confirm");
  await page.goto(house.url);
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  const needs = page.getByRole("region", { name: "Needs action" });
  const narrow = needs.getByRole("button", { name: "Reduce permissions of hall-lamp" });
  await narrow.click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("Only those needed for renewal.").waitFor();
  assert.deepEqual(await violations(page), []);
  await dialog.getByRole("button", { name: "Reduce to what is used" }).click();
  await page.getByText("Permissions of hall-lamp reduced.").waitFor();
  await narrow.waitFor({ state: "detached" });

  const again = needs.getByRole("button", { name: "Authorize ci again" });
  await again.click();
  await page.getByText(/The token ci can be renewed until/).waitFor();
  await again.waitFor({ state: "detached" });
  // While the gateway was off nobody answered.
  assert.deepEqual(page.faults.filter((fault) => !fault.includes("ERR_CONNECTION_REFUSED")), []);
});
