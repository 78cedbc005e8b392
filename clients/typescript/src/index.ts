export { ask, Licet, type Options, type Schemas } from "./client.js";
export { CallDenied, CallFailed, CallHeld, govern, type Effect, type Json, type Proposal, type Running } from "./governed.js";
export { LicetProblem, LicetUnreachable, type ProblemDetails } from "./problem.js";
export type { components, operations, paths } from "./schema.js";
