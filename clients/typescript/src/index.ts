export { ask, Licet, type Options, type Schemas } from "./client.js";
export { LicetProblem, LicetUnreachable, type ProblemDetails } from "./problem.js";
export type { components, operations, paths } from "./schema.js";
