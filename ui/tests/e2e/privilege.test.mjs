// What a device may do and has not done for a month is found, and taken from Home; so is a token that is held let go on.
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

test("rights that were not used for a month are taken from Home, in one step", { skip }, async () => {
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
  await page.goto(house.url);
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  const needs = page.getByRole("region", { name: "What needs you" });
  const narrow = needs.getByRole("button", { name: "Narrow hall-lamp to what it uses" });
  await narrow.click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("It keeps nothing but what it needs to renew.").waitFor();
  assert.deepEqual(await violations(page), []);
  await dialog.getByRole("button", { name: "Narrow to what is used" }).click();
  await page.getByText("hall-lamp has what it uses, and nothing else.").waitFor();
  await narrow.waitFor({ state: "detached" });

  const again = needs.getByRole("button", { name: "Authorize ci again" });
  await again.click();
  await page.getByText(/The token ci can be renewed until/).waitFor();
  await again.waitFor({ state: "detached" });
  // While the gateway was off nobody answered.
  assert.deepEqual(page.faults.filter((fault) => !fault.includes("ERR_CONNECTION_REFUSED")), []);
});
