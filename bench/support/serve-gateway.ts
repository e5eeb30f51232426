import { join } from "node:path";
import { accountId, GatewayRig } from "../../test/support/gateway-rig.ts";

/** A gateway in front of a provider: `node serve-gateway.ts '{"provider": PORT}'` prints its socket and its path. */
const { provider } = JSON.parse(process.argv[2] ?? "{}") as { provider: number };
const rig = await GatewayRig.start({ openai: `http://127.0.0.1:${provider}/` });
console.log(
  JSON.stringify({ socket: join(rig.folder, "gateway.sock"), target: `/v1/${accountId}/main/openai/chat/completions` }),
);
process.on("SIGTERM", () => void rig[Symbol.asyncDispose]().then(() => process.exit(0)));
