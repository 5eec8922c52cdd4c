import { expect, test, vi } from "vitest";
import { inBrowser, placeToLook } from "../../src/lib/remedy";

vi.stubGlobal("navigator", { language: "en" });

test("a browser shows no command and no flag", () => {
  expect(inBrowser("Give it a new value. On the command line: `hearthkey credential rotate`.")).toBe("Give it a new value.");
  expect(inBrowser("Add --reason WHY. Then try again.")).toBe("Then try again.");
  expect(inBrowser("Suspend it: `hearthkey device suspend lamp. Really`.")).toBe("");
  expect(inBrowser("Check the name and v1.2, and try again.")).toBe("Check the name and v1.2, and try again.");
});

test("what was not found is looked for in its list", () => {
  expect(placeToLook({ code: "not_found", message: "There is no device lamp." })).toEqual({ to: "/devices", words: "Show devices" });
  expect(placeToLook({ code: "not_found", message: "There is no log record 9." })).toBeNull();
  expect(placeToLook({ code: "refused", message: "There is no device lamp." })).toBeNull();
});
