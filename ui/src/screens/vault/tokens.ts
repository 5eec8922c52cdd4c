/** What a person does to tokens without a dialog. */
import { call } from "../../lib/api/client";
import { moment } from "../../lib/format";
import { notices } from "../../lib/notices.svelte";
import { text } from "../../lib/text";

/** Lets a token be renewed for another ceiling, and says so. */
export async function reauthorized(name: string): Promise<void> {
  const token = await call((api) => api.POST("/api/v1/tokens/{name}/reauthorize", { params: { path: { name } } }));
  notices.say(text.tokens.reauthorized(name, moment(token.renewable_until)));
}
