import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { ask, Licet } from "../src/index.js";

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
