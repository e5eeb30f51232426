import { ApiError } from "#core/errors.ts";
import { limits } from "#products/workflows/limits.ts";

/**
 * Codes and texts of the real API as wrangler (10200, 10209), workerd's engine (10001, 10400, 10405, 10415) and users report them
 * (10208 `workflow.cron_requires_paid_plan`); those of the others are ours, in their manner.
 */
export const workflowErrors = {
  notFound: () => new ApiError(404, 10200, "workflow.not_found"),
  jurisdictionFixed: () => new ApiError(400, 10209, "workflows.api.error.workflow.jurisdiction_immutable"),
  invalidName: (name: string) =>
    new ApiError(400, 10201, `workflows.api.error.workflow.invalid_name: ${JSON.stringify(name.slice(0, 100))}`),
  tooMany: () => new ApiError(400, 10202, `workflows.api.error.workflow.too_many: at most ${limits.workflows}`),
  scriptNotFound: (script: string) =>
    new ApiError(404, 10203, `workflows.api.error.workflow.script_not_found: There is no Worker '${script}'`),
  classNotFound: (script: string, className: string) =>
    new ApiError(
      400,
      10204,
      `workflows.api.error.workflow.class_not_found: The Worker '${script}' exports no class '${className}'`,
    ),
  invalidCron: (cron: string) =>
    new ApiError(400, 10205, `workflows.api.error.workflow.invalid_cron: ${JSON.stringify(cron)}`),
  versionNotFound: () => new ApiError(404, 10300, "workflows.api.error.version.not_found"),
  badCursor: () => new ApiError(400, 10410, "workflows.api.error.invalid_cursor"),
  instanceNotFound: () => new ApiError(404, 10400, "workflows.api.error.instance.not_found"),
  instanceExists: () => new ApiError(400, 10405, "workflows.api.error.instance.already_exists"),
  instanceInvalidId: () => new ApiError(400, 10406, "workflows.api.error.instance.invalid_id"),
  instanceCannot: (why: string) => new ApiError(409, 10407, `workflows.api.error.instance.${why}`),
  paramsInvalid: () => new ApiError(400, 10408, "workflows.api.error.instance.invalid_params: params must be JSON"),
  valueTooLarge: (what: string) =>
    new ApiError(413, 10409, `workflows.api.error.instance.${what}_too_large: at most ${limits.valueBytes} bytes`),
  unavailable: (why: string) => new ApiError(503, 10001, `workflows.api.error.internal_server: ${why}`),
};
