// Every screen in a lived-in home, in both themes and on a phone: no violation, nothing cut off, and quick.
// With SCREENSHOTS=DIR each is kept as a picture.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { House, invite, join_, violations } from "./house.mjs";

const pictures = process.env.SCREENSHOTS;
const screens = [
  ["home", "/"],
  ["devices", "/devices"],
  ["device", "/devices/hall-lamp"],
  ["add-device", "/devices?add=1"],
  ["vault", "/vault"],
  ["credential", "/vault/in/home/hue/api-key"],
  ["tokens", "/vault/tokens"],
  ["leases", "/vault/leases"],
  ["bridges", "/vault/bridges"],
  ["activity", "/activity"],
  ["settings-you", "/settings/you"],
  ["settings-people", "/settings/people"],
  ["settings-sessions", "/settings/sessions"],
  ["settings-environments", "/settings/environments"],
  ["settings-profiles", "/settings/profiles"],
  ["settings-trust", "/settings/trust"],
  ["settings-unlock", "/settings/unlock"],
  ["settings-gateway", "/settings/gateway"],
];

let house;
let page;

async function furnish() {
  for (const [name, purpose] of [["hall-lamp", "light in the hall"], ["porch-camera", "who is at the gate"], ["cellar-pump", "keeps the cellar dry"]]) {
    await house.agent(await house.claim(name, { purpose }), name);
  }
  await house.claim("kitchen-plug", { profile: "tasmota", purpose: "the kettle" });
  await house.cli("device", "suspend", "cellar-pump");
  const add = (name, env, kind, ...more) =>
    house.cli("credential", "add", name, "--env", env, "--kind", kind, "--generate", "--owner", "anna", "--purpose", "automation", ...more);
  await add("hue/api-key", "home", "api-key", "--used-by", "homeassistant");
  await add("zigbee/network-key", "home", "encryption-key");
  await add("ha/token", "lab", "api-key");
  await house.cli("credential", "lease", "hue/api-key", "--env", "home", "--ttl", "1h");
  await house.cli("token", "create", "ci", "--env", "lab", "--allow", "ha/token:read", "--owner", "dora", "--purpose", "nightly tests", "--out", join(house.directory, "ci.token"));
  await invite(page, "dora", "developer", ["lab"]);
  await house.cli("person", "invite", "otto", "--role", "operator");
  await house.claim("garden-valve", { owner: "otto", purpose: "waters the beds" });
  await house.cli("person", "end", "otto");
  await house.report({ kind: "leaked", credential: "home/hue/api-key", place: "/srv/notes.txt", what: "line 3" });
}

before(async () => {
  house = await House.open();
  page = await house.browser();
  await join_(page, house.setup, "anna");
  await furnish();
  if (pictures) await mkdir(pictures, { recursive: true });
});
after(() => house?.close());

/** Everything that is fetched has come: no screen says that it is loading. */
async function settled() {
  await page.locator("main h1, dialog h2").first().waitFor();
  await page.waitForFunction(() => !document.body.innerText.includes("Loading ") && !document.querySelector('[aria-busy="true"]'));
}

for (const [theme, width, height] of [["light", 1280, 860], ["dark", 1280, 860], ["light", 360, 740]]) {
  const phone = width < 500;
  for (const [name, path] of screens) {
    test(`${name} is fit to be used, ${theme}${phone ? ", on a phone" : ""}`, async () => {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme: theme });
      await page.goto(`${house.url}${path}`);
      await settled();
      assert.deepEqual(await violations(page), []);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(over <= 0, `${over} px stand beyond the right edge`);
      const file = `${name}-${phone ? "phone" : theme}.png`;
      if (pictures) await page.screenshot({ path: join(pictures, file), fullPage: !phone });
    });
  }
}

test("a screen needs no pointer", async () => {
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.goto(`${house.url}/`);
  await settled();
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await page.getByRole("heading", { name: "Devices" }).waitFor();
  await settled();
  await page.keyboard.press("/");
  await page.keyboard.type("hall");
  await page.getByText("1 of 5 devices").waitFor();
  await page.locator("tbody tr[data-row='0']").focus();
  await page.keyboard.press("Space");
  await page.getByText("1 device selected").first().waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "hall-lamp" }).waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
  assert.deepEqual(await violations(page), []);
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

test("the first load is small, kept by its content, and asks nobody else", async () => {
  const seen = [];
  const fresh = await house.browser({ passkeys: false });
  fresh.on("response", (response) => seen.push(response));
  await fresh.goto(house.url);
  await fresh.getByRole("heading", { name: "Welcome home" }).waitFor();
  let bytes = 0;
  for (const response of seen) {
    assert.ok(response.url().startsWith(house.url), response.url());
    const headers = response.headers();
    if (/\.woff2$/.test(response.url())) continue;
    bytes += Number(headers["content-length"] ?? 0);
    if (response.url().includes("/assets/")) {
      assert.match(headers["cache-control"], /immutable/);
      if (/\.(js|css)$/.test(response.url())) assert.equal(headers["content-encoding"], "br");
    }
  }
  assert.ok(bytes > 10_000 && bytes < 150_000, `${bytes} bytes`);
  const page_ = seen.find((response) => new URL(response.url()).pathname === "/");
  assert.match(page_.headers()["content-security-policy"], /default-src 'none'; script-src 'self'/);
});

test("nothing went wrong in the page on the way", () => {
  assert.deepEqual(page.faults, []);
});
