import createFetchClient, { type Client as FetchClient } from "openapi-fetch";

import { LicetProblem, LicetUnreachable } from "./problem.js";
import type { components, paths } from "./schema.js";

export type Schemas = components["schemas"];

export interface Options {
  /** The server, without `/api`: https, or http to this machine itself. By default `LICET_SERVER`. */
  readonly url?: string;
  /** The credential: an API key or an access token. By default `LICET_API_KEY`. */
  readonly credential?: string;
  /** How long a request may take; a long poll takes so much longer. */
  readonly timeoutMs?: number;
  readonly fetch?: typeof fetch;
}

const TIMEOUT_MS = 30_000;
const ATTEMPTS = 3;
const PAUSE_MS = 200;
/** A server that asks for more patience than that is not waited for. */
const LONGEST_PAUSE_MS = 10_000;
const TRANSIENT = new Set([429, 502, 503, 504]);
/** Operations that answer a second time as they did the first. */
const REPEATABLE = [/^\/api\/v1\/calls\/[^/]+\/outcome$/];
const LOOPBACK = new Set(["localhost", "[::1]"]);

/**
 * The API of one Licet server.
 *
 * `api` is typed by the server's OpenAPI document: `ask(licet.api.GET("/api/v1/whoami"))` is what it answers, or throws a `LicetProblem`.
 * Only what may safely be made twice is made again by itself: what reads, and what carries an idempotency key. No redirect is followed, so
 * that the credential goes nowhere else.
 */
export class Licet {
  readonly url: string;
  readonly api: FetchClient<paths>;
  readonly #timeoutMs: number;
  readonly #fetch: typeof fetch;

  constructor(options: Options = {}) {
    this.url = checked(options.url ?? process.env["LICET_SERVER"] ?? "");
    const credential = options.credential ?? process.env["LICET_API_KEY"];
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#fetch = options.fetch ?? fetch;
    this.api = createFetchClient<paths>({
      baseUrl: this.url,
      fetch: (request) => this.#send(request),
      headers: credential === undefined ? {} : { Authorization: `Bearer ${credential.trim()}` },
    });
  }

  async #send(request: Request): Promise<Response> {
    const body = request.method === "GET" ? null : await request.text();
    const attempts = isRepeatable(request, body) ? ATTEMPTS : 1;
    const until = Date.now() + this.#timeoutMs + waitsMs(request, body);
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#once(request, body, Math.max(1, until - Date.now()));
      const pauseMs = pauseOf(answer, attempt);
      if (attempt === attempts || pauseMs === null || Date.now() + pauseMs >= until) {
        if (answer instanceof LicetUnreachable) throw answer;
        return answer;
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async #once(request: Request, body: string | null, timeoutMs: number): Promise<Response | LicetUnreachable> {
    const signal = AbortSignal.any([request.signal, AbortSignal.timeout(timeoutMs)]);
    try {
      return await this.#fetch(request.url, { method: request.method, headers: request.headers, body: body || null, signal, redirect: "manual" });
    } catch (cause) {
      if (request.signal.aborted) throw cause;
      return new LicetUnreachable(this.url, cause);
    }
  }
}

/** What an operation answers. Throws `LicetProblem` for a problem, `LicetUnreachable` where no answer came. */
export async function ask<T>(answering: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  let answer;
  try {
    answer = await answering;
  } catch (cause) {
    // What is not JSON although it says so: of a proxy.
    if (cause instanceof SyntaxError) throw new LicetProblem(0, "bad_answer", `the server's answer cannot be read: ${cause.message}`, "");
    throw cause;
  }
  if (!answer.response.ok) throw LicetProblem.of(answer.response, answer.error);
  return answer.data as T;
}

/** The address, if a credential may be sent there. Throws a `TypeError`, which does not repeat a password. */
function checked(url: string): string {
  let found: URL;
  try {
    found = new URL(url);
  } catch {
    throw new TypeError("no server is named; give its URL, or `LICET_SERVER`");
  }
  if (found.username || found.password || found.search || found.hash) {
    throw new TypeError(`\`${found.host}\`: the address of a server has no password, query or fragment`);
  }
  const isHere = LOOPBACK.has(found.hostname) || /^127\.\d+\.\d+\.\d+$/.test(found.hostname);
  if (found.protocol !== "https:" && !(found.protocol === "http:" && isHere)) {
    throw new TypeError(`\`${found.host}\` is on another machine and not https`);
  }
  return found.href.replace(/\/+$/, "");
}

function isRepeatable(request: Request, body: string | null): boolean {
  if (request.method === "GET") return true;
  const path = new URL(request.url).pathname;
  return REPEATABLE.some((known) => known.test(path)) || hasKey(body);
}

function hasKey(body: string | null): boolean {
  return typeof membersOf(body)["idempotency_key"] === "string";
}

function membersOf(body: string | null): Readonly<Record<string, unknown>> {
  const found: unknown = body ? JSON.parse(body) : null;
  return typeof found === "object" && found !== null ? (found as Record<string, unknown>) : {};
}

/** How long the server was asked to wait for something to happen. */
function waitsMs(request: Request, body: string | null): number {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname.endsWith("/wait")) return Number(searchParams.get("timeout_s") ?? 30) * 1_000;
  return Number(membersOf(body)["wait_s"] ?? 0) * 1_000;
}

function pauseOf(answer: Response | LicetUnreachable, attempt: number): number | null {
  if (answer instanceof LicetUnreachable) return PAUSE_MS * attempt;
  if (!TRANSIENT.has(answer.status)) return null;
  const asked = Number(answer.headers.get("retry-after") ?? 0) * 1_000;
  return asked > LONGEST_PAUSE_MS ? null : asked || PAUSE_MS * attempt;
}
