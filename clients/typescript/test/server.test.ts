import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { ask, CallDenied, CallFailed, CallHeld, govern, Licet } from "../src/index.js";

// The tests of Licet start a server whose credentials are names, and say where it is.
const url = process.env["LICET_TEST_SERVER"];

function served(name: string, body: (context: TestContext) => Promise<void>): void {
  test(name, { skip: url === undefined ? "no server: `pytest -m heavy tests/client` starts one" : false }, body);
}

const as = (credential: string): Licet => new Licet({ url: url ?? "", credential });

served("a credential says what it may do where", async () => {
  const found = await ask(as("agent").api.GET("/api/v1/whoami"));
  assert.deepEqual([found.method, found.credential, found.tenants], ["api_key", "key-agent", ["acme"]]);
  assert.ok(found.permitted["acme"]?.includes("calls.propose"));
});

served("an unknown credential is refused", async () => {
  await assert.rejects(ask(as("nobody-knows").api.GET("/api/v1/whoami")), { name: "LicetProblem", status: 401, code: "invalid_credential" });
});

const small = { tool: "billing.adjust", arguments: { customer_id: "C-1", amount_cents: 2_500 }, caller: { user: "alice" } };
const large = { ...small, arguments: { ...small.arguments, amount_cents: 50_000 } };

served("a permitted call runs with the arguments that were decided on, and is reported with its changes", async () => {
  const licet = as("agent");
  let call = "";
  const found = await govern(licet, small, (running) => {
    call = running.call;
    assert.deepEqual(running.arguments, small.arguments);
    running.changed({ target: 'Customer::"C-1"', field: "balance", before: 100, after: 2_600 });
    return { ticket: 7 };
  });
  assert.deepEqual(found, { ticket: 7 });
  const seen = await ask(licet.api.GET("/api/v1/calls/{id}", { params: { path: { id: call } } }));
  assert.deepEqual([seen.state, seen.end?.status, seen.end?.effects?.length], ["ended", "ok", 1]);
});

served("a denied call does not run", async () => {
  const other = { ...small, tool: "crm.lookup", arguments: { customer_id: "G-1" } };
  await assert.rejects(
    govern(as("agent"), other, () => assert.fail("it ran")),
    (error: unknown) => error instanceof CallDenied && error.answer.decision === "deny",
  );
});

served("a held call runs once people have decided", async () => {
  const held = await govern(as("agent"), large, () => assert.fail("it ran")).catch((error: unknown) => error);
  assert.ok(held instanceof CallHeld && held.request);
  const lena = as("lena").api;
  const path = { id: held.request };
  const shown = await ask(lena.GET("/api/v1/requests/{id}", { params: { path } }));
  await ask(lena.POST("/api/v1/requests/{id}/votes", { params: { path }, body: { verdict: "approve", binding: shown.binding } }));
  assert.equal((await ask(lena.GET("/api/v1/requests/{id}/wait", { params: { path } }))).state, "approved");
  assert.equal(await govern(as("agent"), large, () => "done"), "done");
});

served("an exception is reported and thrown on", async () => {
  const licet = as("agent");
  let call = "";
  await assert.rejects(
    govern(licet, small, (running) => {
      call = running.call;
      throw new RangeError("the desk is closed");
    }),
    RangeError,
  );
  const seen = await ask(licet.api.GET("/api/v1/calls/{id}", { params: { path: { id: call } } }));
  assert.deepEqual([seen.end?.status, seen.end?.code, seen.end?.message], ["error", "RangeError", "the desk is closed"]);
});

served("a key that was used gives what was recorded, and runs nothing", async () => {
  const keyed = { ...small, idempotencyKey: "k-1" };
  assert.equal(await govern(as("agent"), keyed, () => "first"), "first");
  assert.equal(await govern<unknown>(as("agent"), keyed, () => assert.fail("it ran")), "first");
});

served("a result whose report does not arrive is withheld", async () => {
  const licet = new Licet({
    url: url ?? "",
    credential: "agent",
    fetch: async (input, init) => (String(input).endsWith("/outcome") ? new Response("{}", { status: 409 }) : await fetch(input, init)),
  });
  await assert.rejects(govern(licet, small, () => "secret"), (error: unknown) => error instanceof CallFailed && error.executed);
});
