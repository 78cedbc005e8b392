import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { ask, Licet, LicetProblem, LicetUnreachable } from "../src/index.js";

type Answer = { status: number; body?: string; headers?: Record<string, string> };
type Seen = { method: string; url: string; headers: IncomingMessage["headers"]; body: string };

/** A peer that gives these answers in turn, the last one again and again. */
async function answering(answers: Answer[], use: (licet: Licet, seen: Seen[]) => Promise<void>): Promise<void> {
  const seen: Seen[] = [];
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    let body = "";
    request.on("data", (part: Buffer) => (body += part.toString()));
    request.on("end", () => {
      const answer = answers[Math.min(seen.length, answers.length - 1)] as Answer;
      seen.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers, body });
      response.writeHead(answer.status, { "content-type": "application/json", connection: "close", ...answer.headers });
      response.end(answer.body ?? "{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(new Licet({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, credential: "secret\n" }), seen);
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

const problem = (status: number, code: string, more = {}): Answer => ({
  status,
  body: JSON.stringify({ code, detail: "because", request_id: "r-1", ...more }),
  headers: { "content-type": "application/problem+json" },
});

test("a request shows the credential, and its answer is typed", async () => {
  await answering([{ status: 200, body: JSON.stringify({ credential: "k" }) }], async (licet, seen) => {
    const found = await ask(licet.api.GET("/api/v1/whoami"));
    assert.equal(found.credential, "k");
    assert.equal(seen[0]?.headers.authorization, "Bearer secret");
    assert.equal(seen[0]?.url, "/api/v1/whoami");
  });
});

test("a problem is an error with its code, status and request", async () => {
  await answering([problem(403, "not_permitted", { errors: ["here"] })], async (licet, seen) => {
    const refused = await ask(licet.api.GET("/api/v1/whoami")).catch((error: unknown) => error);
    assert.ok(refused instanceof LicetProblem);
    assert.deepEqual(
      [refused.status, refused.code, refused.message, refused.requestId, refused.errors],
      [403, "not_permitted", "because", "r-1", ["here"]],
    );
    assert.equal(seen.length, 1);
  });
});

test("what reads is asked again where that may help, three times at most", async () => {
  await answering([problem(503, "busy"), problem(429, "busy"), { status: 200 }], async (licet, seen) => {
    await ask(licet.api.GET("/api/v1/whoami"));
    assert.equal(seen.length, 3);
  });
  await answering([problem(503, "busy")], async (licet, seen) => {
    await assert.rejects(ask(licet.api.GET("/api/v1/whoami")), { code: "busy", status: 503 });
    assert.equal(seen.length, 3);
  });
});

test("a server that asks for an hour is not waited for", async () => {
  const asks = problem(429, "busy", { retry_after_s: 3600 });
  await answering([{ ...asks, headers: { ...asks.headers, "retry-after": "3600" } }], async (licet, seen) => {
    await assert.rejects(ask(licet.api.GET("/api/v1/whoami")), { retryAfterS: 3600 });
    assert.equal(seen.length, 1);
  });
});

test("a vote is asked once, whatever the answer", async () => {
  await answering([problem(503, "busy")], async (licet, seen) => {
    const body = { verdict: "approve", binding: "0".repeat(64) } as const;
    await assert.rejects(ask(licet.api.POST("/api/v1/requests/{id}/votes", { params: { path: { id: "a/../b" } }, body })), { code: "busy" });
    assert.equal(seen.length, 1);
    assert.equal(seen[0]?.url, "/api/v1/requests/a%2F..%2Fb/votes");
    assert.deepEqual(JSON.parse(seen[0]?.body ?? ""), body);
  });
});

test("an answer that no Licet server gives is told as such", async () => {
  await answering([{ status: 403, body: "<html>" }], async (licet) => {
    await assert.rejects(ask(licet.api.GET("/api/v1/whoami")), { name: "LicetProblem", code: "bad_answer", status: 403 });
  });
  await answering([{ status: 302, headers: { location: "http://127.0.0.1:1/" } }], async (licet, seen) => {
    await assert.rejects(ask(licet.api.GET("/api/v1/whoami")), { name: "LicetProblem", code: "bad_answer", status: 302 });
    assert.equal(seen.length, 1);
  });
  await answering([{ status: 200, body: "<html>" }], async (licet) => {
    await assert.rejects(ask(licet.api.GET("/api/v1/whoami")), { name: "LicetProblem", code: "bad_answer" });
  });
});

test("where nobody listens, that is said", async () => {
  const licet = new Licet({ url: "http://127.0.0.1:1", credential: "k", timeoutMs: 2_000 });
  await assert.rejects(ask(licet.api.GET("/api/v1/whoami")), LicetUnreachable);
});

for (const url of ["http://licet.example.com", "https://user:hunter2@licet.example.com", "ftp://localhost", "https://licet.example.com/?a", "", "x"]) {
  test(`a credential is not sent to \`${url}\``, () => {
    assert.throws(
      () => new Licet({ url, credential: "k" }),
      (error: unknown) => error instanceof TypeError && !error.message.includes("hunter2"),
    );
  });
}
