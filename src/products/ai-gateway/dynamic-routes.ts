import { newUuid } from "#core/ids.ts";
import type { Database } from "#db/database.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { checkGraph, routeElements, type RouteElements } from "#products/ai-gateway/route-graph.ts";
import { routeWrites } from "#products/ai-gateway/route-writes.ts";
import type { Gateway } from "#products/ai-gateway/schema.ts";

/** A route with all its versions, the newest last; the last deployment is in force. */
export type DynamicRoute = {
  id: string;
  gatewayId: string;
  name: string;
  createdAt: string;
  modifiedAt: string;
  versions: RouteVersion[];
  deployments: RouteDeployment[];
};
export type RouteVersion = { id: string; createdAt: string; elements: RouteElements };
export type RouteDeployment = { id: string; versionId: string; createdAt: string };

export interface DynamicRoutes {
  list(gateway: Gateway): DynamicRoute[];
  get(gateway: Gateway, id: string): DynamicRoute;
  /** The elements that are in force under `name`. */
  elements(gateway: Gateway, name: string): RouteElements | undefined;
  /** Made and deployed. */
  create(gateway: Gateway, name: string, elements: RouteElements): Promise<DynamicRoute>;
  rename(gateway: Gateway, id: string, name: string): Promise<DynamicRoute>;
  addVersion(gateway: Gateway, id: string, elements: RouteElements): Promise<DynamicRoute>;
  /** Any version: an older one is a rollback. */
  deploy(gateway: Gateway, id: string, versionId: string): Promise<DynamicRoute>;
  delete(gateway: Gateway, id: string): Promise<DynamicRoute>;
  /** Those of a gateway that was deleted, and with it their rows. */
  forget(gateway: Gateway): void;
}

/** Versions, and deployments, of one route that are kept. */
const historyMax = 100;

type Known = { accountId: string; route: DynamicRoute };

export function dynamicRoutes(db: Database): DynamicRoutes {
  const known = new Map(
    db
      .prepare("SELECT account_id, body FROM routes")
      .all()
      .map((row): [string, Known] => {
        const route = JSON.parse(String(row["body"])) as DynamicRoute;
        return [route.id, { accountId: String(row["account_id"]), route }];
      }),
  );
  const list = ({ accountId, id }: Gateway) =>
    [...known.values()]
      .filter((entry) => entry.accountId === accountId && entry.route.gatewayId === id)
      .map(({ route }) => route);
  const get = (gateway: Gateway, id: string) => {
    const route = list(gateway).find((one) => one.id === id);
    if (!route) throw gatewayErrors.notFound("Route");
    return route;
  };
  const nameIsFree = (gateway: Gateway, name: string, id: string) => {
    if (list(gateway).some((route) => route.name === name && route.id !== id)) throw gatewayErrors.routeTaken(name);
  };
  const save = async ({ accountId }: Gateway, changed: DynamicRoute) => {
    const route = { ...changed, modifiedAt: new Date().toISOString() };
    await db.write(routeWrites.saveRoute, {
      accountId,
      gatewayId: route.gatewayId,
      id: route.id,
      body: JSON.stringify(route),
    });
    known.set(route.id, { accountId, route });
    return route;
  };
  return {
    list,
    get,
    elements(gateway, name) {
      const route = list(gateway).find((one) => one.name === name);
      const deployed = route?.deployments.at(-1)?.versionId;
      return route?.versions.find(({ id }) => id === deployed)?.elements;
    },
    async create(gateway, name, elements) {
      nameIsFree(gateway, name, "");
      const version = newVersion(elements);
      const { createdAt } = version;
      const deployment = { id: newUuid(), versionId: version.id, createdAt };
      const history = { versions: [version], deployments: [deployment] };
      return save(gateway, {
        id: newUuid(),
        gatewayId: gateway.id,
        name,
        createdAt,
        modifiedAt: createdAt,
        ...history,
      });
    },
    async rename(gateway, id, name) {
      const route = get(gateway, id);
      nameIsFree(gateway, name, id);
      return save(gateway, { ...route, name });
    },
    async addVersion(gateway, id, elements) {
      const route = get(gateway, id);
      const deployed = route.deployments.at(-1)?.versionId;
      const kept = route.versions.slice(1 - historyMax);
      const inForce = route.versions.filter((one) => one.id === deployed && !kept.includes(one));
      return save(gateway, { ...route, versions: [...inForce, ...kept, newVersion(elements)] });
    },
    async deploy(gateway, id, versionId) {
      const route = get(gateway, id);
      if (!route.versions.some((one) => one.id === versionId)) throw gatewayErrors.notFound("Version");
      const deployment = { id: newUuid(), versionId, createdAt: new Date().toISOString() };
      return save(gateway, { ...route, deployments: [...route.deployments.slice(1 - historyMax), deployment] });
    },
    async delete(gateway, id) {
      const route = get(gateway, id);
      await db.write(routeWrites.deleteRoute, { id });
      known.delete(id);
      return route;
    },
    forget(gateway) {
      for (const { id } of list(gateway)) known.delete(id);
    },
  };
}

function newVersion(elements: RouteElements): RouteVersion {
  const parsed = routeElements.safeParse(elements);
  if (!parsed.success) throw gatewayErrors.invalid("the elements of the route are not valid");
  checkGraph(parsed.data);
  return { id: newUuid(), createdAt: new Date().toISOString(), elements: parsed.data };
}
