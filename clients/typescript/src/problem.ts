import type { components } from "./schema.js";

export type ProblemDetails = components["schemas"]["ProblemDetails"];

/**
 * What a server says is wrong (RFC 9457). `code` is for programs; `requestId` finds the request in the server's log.
 * An answer that no Licet server gives (of a proxy, say) has the code `bad_answer`.
 */
export class LicetProblem extends Error {
  override readonly name = "LicetProblem";
  readonly errors: readonly string[];
  readonly retryAfterS: number | null;

  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly requestId: string,
    more: { errors?: readonly string[] | undefined; retryAfterS?: number | null | undefined } = {},
  ) {
    super(detail);
    this.errors = more.errors ?? [];
    this.retryAfterS = more.retryAfterS ?? null;
  }

  /** The problem that this answer is. What is not as the API has it is not believed. */
  static of(response: Response, body: unknown): LicetProblem {
    const requestId = response.headers.get("x-request-id") ?? "";
    if (!isDetails(body)) {
      return new LicetProblem(response.status, "bad_answer", `the server answered with ${response.status}, and nothing that Licet says`, requestId);
    }
    return new LicetProblem(response.status, body.code, body.detail, body.request_id || requestId, {
      errors: body.errors,
      retryAfterS: body.retry_after_s,
    });
  }
}

/** No answer came. `sent`: the request may have been carried out all the same; nobody knows. */
export class LicetUnreachable extends Error {
  override readonly name = "LicetUnreachable";
  readonly sent = true;

  constructor(server: string, cause: unknown) {
    super(`the server \`${server}\` does not answer: ${reason(cause)}`, { cause });
  }
}

function reason(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return cause.cause instanceof Error ? `${cause.message}: ${cause.cause.message}` : cause.message;
}

function isDetails(body: unknown): body is ProblemDetails {
  if (typeof body !== "object" || body === null) return false;
  const found = body as Record<string, unknown>;
  return typeof found["code"] === "string" && typeof found["detail"] === "string";
}
