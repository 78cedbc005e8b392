// The official TypeScript client of the newer era: node client_v2.mjs URL KEY FOLDER
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, key, folder] = process.argv.slice(2);
const client = new Client({ name: "peer", version: "1.0.0" }, { versionNegotiation: { mode: "auto" } });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization: `Bearer ${key}` } } }));
const call = async (name, args) => (await client.callTool({ name, arguments: args })).content.map((one) => one.text).join("\n");
const told = {
  tools: (await client.listTools()).tools.map((one) => one.name),
  echo: await call("everything__echo", { message: "from TypeScript" }),
  note: await call("files__read_text_file", { path: `${folder}/notes/one.txt` }),
  payroll: await call("files__read_text_file", { path: `${folder}/payroll/one.txt` }),
};
await client.close();
console.log(JSON.stringify(told));
