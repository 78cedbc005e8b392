import { ask, type Licet, type Schemas } from "./client.js";
import { LicetProblem, LicetUnreachable } from "./problem.js";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type Effect = Schemas["EffectReported"];

export interface Proposal {
  readonly tool: string;
  readonly arguments?: Readonly<Record<string, Json>>;
  /** As whom: a selection among those that the credential speaks for. What is left out is the only one that there is. */
  readonly caller?: Schemas["CallerNamed"];
  readonly reason?: string;
  readonly workflow?: string;
  readonly idempotencyKey?: string;
  /** How long to wait for people. */
  readonly waitS?: number;
}

/** What a tool that is run here is given: the arguments as they were decided on, and where to say what it changed. */
export interface Running {
  readonly arguments: Readonly<Record<string, Json>>;
  readonly call: string;
  changed(effect: Effect): void;
}

/** The call was denied; the same call will be denied again. */
export class CallDenied extends Error {
  override readonly name = "CallDenied";
  constructor(readonly answer: Schemas["CallAnswer"]) {
    super(answer.message);
  }
}

/** The call waits for people. The same call, made again once they have decided, goes on. */
export class CallHeld extends Error {
  override readonly name = "CallHeld";
  readonly request: string | null;
  constructor(readonly answer: Schemas["CallAnswer"]) {
    super(answer.message);
    this.request = answer.request ?? null;
  }
}

/** It was permitted, and did not end well, or how it ended could not be recorded: then its result is withheld. */
export class CallFailed extends Error {
  override readonly name = "CallFailed";
  constructor(
    message: string,
    readonly call: string,
    readonly executed: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * What `run` resolves to, if the call is permitted; with a key that was used before, what was recorded then.
 *
 * Nothing runs but on `allow`, and then once, with exactly the arguments that were decided on. What ran is reported before its result is given
 * out. A process that dies reports nothing; the server then says so itself once the time to report is over.
 */
export async function govern<T>(licet: Licet, proposal: Proposal, run: (running: Running) => Promise<T> | T): Promise<T> {
  const answer = await ask(licet.api.POST("/api/v1/calls", { body: bodyOf(proposal) }));
  if (answer.decision === "repeat") return repeated(answer) as T;
  if (answer.decision === "hold") throw new CallHeld(answer);
  if (answer.decision !== "allow" || !answer.call || !isArguments(answer.arguments)) throw new CallDenied(answer);
  return await execute(licet, answer.call, answer.arguments, run);
}

async function execute<T>(
  licet: Licet,
  call: string,
  args: Readonly<Record<string, Json>>,
  run: (running: Running) => Promise<T> | T,
): Promise<T> {
  const effects: Effect[] = [];
  const began = process.hrtime.bigint();
  const since = (): number => Number((process.hrtime.bigint() - began) / 1_000n);
  let result: T;
  try {
    result = await run({ arguments: args, call, changed: (effect) => void effects.push(effect) });
  } catch (cause) {
    await report(licet, call, { status: "error", effects, duration_us: since(), ...told(cause) }, cause);
    throw cause;
  }
  await report(licet, call, { status: "ok", effects, duration_us: since(), ...asJson(result) });
  return result;
}

async function report(licet: Licet, call: string, body: Schemas["ReportEnd"], cause?: unknown): Promise<void> {
  try {
    await ask(licet.api.POST("/api/v1/calls/{id}/outcome", { params: { path: { id: call } }, body }));
  } catch (error) {
    if (!(error instanceof LicetProblem || error instanceof LicetUnreachable)) throw error;
    throw new CallFailed(`it ran, and how it ended could not be recorded: ${error.message}`, call, true, { cause: cause ?? error });
  }
}

function repeated(answer: Schemas["CallAnswer"]): unknown {
  if (answer.end?.status === "ok") return answer.end.result;
  const executed = answer.end?.status !== "not_executed";
  throw new CallFailed(`a call with this key was made before: ${answer.message}`, answer.repeats ?? answer.call ?? "", executed);
}

function bodyOf(proposal: Proposal): Schemas["ProposeCall"] {
  return {
    tool: proposal.tool,
    arguments: { ...proposal.arguments },
    ...(proposal.caller && { caller: proposal.caller }),
    ...(proposal.reason !== undefined && { reason: proposal.reason }),
    ...(proposal.workflow !== undefined && { workflow: proposal.workflow }),
    ...(proposal.idempotencyKey !== undefined && { idempotency_key: proposal.idempotencyKey }),
    ...(proposal.waitS !== undefined && { wait_s: proposal.waitS }),
  };
}

function isArguments(found: unknown): found is Readonly<Record<string, Json>> {
  return typeof found === "object" && found !== null && !Array.isArray(found);
}

function told(cause: unknown): { code: string; message: string } {
  const name = cause instanceof Error ? cause.name : "error";
  const message = cause instanceof Error ? cause.message : String(cause);
  return { code: /^[A-Za-z_][A-Za-z0-9_.:-]{0,63}$/.test(name) ? name : "error", message: message.slice(0, 1_000) };
}

/** The result as it is recorded; nothing of one that JSON cannot hold. */
function asJson(result: unknown): { result?: Json } {
  try {
    const text = JSON.stringify(result);
    return text === undefined ? {} : { result: JSON.parse(text) as Json };
  } catch {
    return {};
  }
}
