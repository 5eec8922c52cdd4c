/**
 * The one way to the gateway: typed by the contract, with what a session's writes carry, and errors as problems.
 */
import createClient, { type Middleware } from "openapi-fetch";
import { text } from "../text";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** What went wrong (RFC 9457): shown to people as it is. */
export class Problem extends Error {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  readonly remedy: string;

  constructor(problem: Schemas["Problem"]) {
    super(problem.title);
    this.name = "Problem";
    this.code = problem.code;
    this.status = problem.status;
    this.detail = problem.detail;
    this.remedy = problem.remedy;
  }
}

/** No response: the network or the gateway is down. */
export function unreachable(): Problem {
  return new Problem({ code: "unreachable", status: 0, ...text.unreachable });
}

type Guards = {
  /** What the session's writes carry. */
  csrf: () => string | null;
  /** The session has ended. */
  onLoggedOut: () => void;
  /** Asks the person for a second factor; true once it has been accepted. */
  onSecondFactor: () => Promise<boolean>;
};

let guards: Guards = { csrf: () => null, onLoggedOut: () => {}, onSecondFactor: async () => false };

/** Sets the session that the client works for. */
export function guardBy(given: Guards): void {
  guards = given;
}

const withSession: Middleware = {
  onRequest({ request }) {
    const csrf = guards.csrf();
    if (request.method !== "GET" && csrf) request.headers.set("x-hearthkey-csrf", csrf);
    return request;
  },
};

const client = createClient<paths>({ baseUrl: "/", querySerializer: { array: { style: "form", explode: false } } });
client.use(withSession);

type Answer<T> = { data?: T; error?: unknown; response: Response };

function problemIn(answer: Answer<unknown>): Problem {
  const { error, response } = answer;
  if (error && typeof error === "object" && "code" in error) return new Problem(error as Schemas["Problem"]);
  return new Problem({ code: "garbled", status: response.status, ...text.garbled(response.status) });
}

/**
 * Asks the gateway. `ask` is called again, once, after a second factor was used. A call that itself uses one passes `asksForOne = false`.
 *
 * @throws Problem whatever goes wrong
 */
export async function call<T>(ask: (api: typeof client) => Promise<Answer<T>>, asksForOne = true): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    let answer: Answer<T>;
    try {
      answer = await ask(client);
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw unreachable();
    }
    if (answer.response.ok) return answer.data as T;
    const problem = problemIn(answer);
    const isNeeded = problem.code === "second_factor_needed" && asksForOne && tries === 0;
    if (isNeeded && (await guards.onSecondFactor())) continue;
    if (problem.code === "not_logged_in") guards.onLoggedOut();
    throw problem;
  }
}
