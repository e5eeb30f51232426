import { z } from "zod";
import { ok, pageOf, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import type {
  DynamicRoute,
  DynamicRoutes,
  RouteDeployment,
  RouteVersion,
} from "#products/ai-gateway/dynamic-routes.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { gatewayOf } from "#products/ai-gateway/gateway-of.ts";
import { routeElements } from "#products/ai-gateway/route-graph.ts";
import type { GatewayStore } from "#products/ai-gateway/store.ts";

const name = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[a-zA-Z0-9_-]+$/, "has letters, digits, hyphens and underscores");
const newRoute = z.looseObject({ name, elements: routeElements });
const newName = z.looseObject({ name });
const newVersion = z.looseObject({ elements: routeElements });
const newDeployment = z.looseObject({ version_id: z.string() });

/** Below a gateway: its routes. Their lists answer `{success, data}` and not the envelope, as Cloudflare's do. */
export function dynamicRouteRoutes(
  app: Api,
  { gateways, routes }: { gateways: GatewayStore; routes: DynamicRoutes },
): void {
  const base = "/gateways/:gateway_id/routes";
  const routeOf = (c: ApiContext) => routes.get(gatewayOf(c, gateways), param(c, "route_id"));

  app.get(base, (c) => listed(c, "routes", routes.list(gatewayOf(c, gateways)).map(routeJson)));
  app.post(base, async (c) => {
    const body = await readJson(c, newRoute);
    return ok(c, routeJson(await routes.create(gatewayOf(c, gateways), body.name, body.elements)));
  });
  app.get(`${base}/:route_id`, (c) => ok(c, routeJson(routeOf(c))));
  app.patch(`${base}/:route_id`, async (c) => {
    const body = await readJson(c, newName);
    const route = await routes.rename(gatewayOf(c, gateways), param(c, "route_id"), body.name);
    return c.json({ success: true, route: routeJson(route) });
  });
  app.delete(`${base}/:route_id`, async (c) =>
    ok(c, routeJson(await routes.delete(gatewayOf(c, gateways), param(c, "route_id")))),
  );
  app.get(`${base}/:route_id/versions`, (c) => {
    const route = routeOf(c);
    return listed(
      c,
      "versions",
      route.versions.toReversed().map((version) => versionJson(route, version)),
    );
  });
  app.post(`${base}/:route_id/versions`, async (c) => {
    const { elements } = await readJson(c, newVersion);
    const route = await routes.addVersion(gatewayOf(c, gateways), param(c, "route_id"), elements);
    return ok(c, { ...routeJson(route), elements, version: versionJson(route, route.versions.at(-1)) });
  });
  app.get(`${base}/:route_id/versions/:version_id`, (c) => {
    const route = routeOf(c);
    const version = route.versions.find(({ id }) => id === param(c, "version_id"));
    if (!version) throw gatewayErrors.notFound("Version");
    return ok(c, { ...routeJson(route), elements: version.elements, ...versionJson(route, version) });
  });
  app.get(`${base}/:route_id/deployments`, (c) =>
    listed(c, "deployments", routeOf(c).deployments.toReversed().map(deploymentJson)),
  );
  app.post(`${base}/:route_id/deployments`, async (c) => {
    const { version_id: versionId } = await readJson(c, newDeployment);
    return ok(c, routeJson(await routes.deploy(gatewayOf(c, gateways), param(c, "route_id"), versionId)));
  });
}

function listed(c: ApiContext, what: string, all: readonly unknown[]): Response {
  const { page, perPage } = pageOf(c, { perPage: 20, perPageMax: 100 });
  const { items } = paginate(all, { page, perPage });
  const order = { order_by: "created_at", order_by_direction: "desc" };
  return c.json({ success: true, data: { [what]: items, page, per_page: perPage, ...order } });
}

function routeJson(route: DynamicRoute) {
  const deployment = route.deployments.at(-1);
  const version = route.versions.find(({ id }) => id === deployment?.versionId);
  return {
    id: route.id,
    gateway_id: route.gatewayId,
    name: route.name,
    elements: version?.elements ?? [],
    deployment: deployment && deploymentJson(deployment),
    version: versionJson(route, version),
    created_at: route.createdAt,
    modified_at: route.modifiedAt,
  };
}

function versionJson(route: DynamicRoute, version: RouteVersion | undefined) {
  if (!version) return undefined;
  return {
    version_id: version.id,
    active: String(version.id === route.deployments.at(-1)?.versionId),
    data: JSON.stringify(version.elements),
    is_valid: true,
    created_at: version.createdAt,
  };
}

function deploymentJson({ id, versionId, createdAt }: RouteDeployment) {
  return { deployment_id: id, version_id: versionId, created_at: createdAt };
}
