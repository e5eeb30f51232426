import { WorkflowEntrypoint } from "cloudflare:workers";
import { NonRetryableError } from "cloudflare:workflows";

/** Instances that are busy just now. */
let busy = 0;

/** Each way that a step can go, by what the instance was given. */
export class Orders extends WorkflowEntrypoint {
  async run(event, step) {
    const { payload } = event;
    const first = await step.do("first", async (context) => {
      console.log("in the first step", event.instanceId);
      return { got: payload, name: event.workflowName, context };
    });
    const kinds = {
      plain: async () => first,
      nap: async () => {
        await step.sleep("nap", payload.ms ?? 200);
        return step.do("after", async () => "rested");
      },
      until: async () => step.sleepUntil("until", new Date(event.timestamp.getTime() + 300)),
      retry: async () => {
        let ran = 0;
        return step.do("flaky", { retries: { limit: 3, delay: 50, backoff: "linear" } }, async ({ attempt }) => {
          ran++;
          if (attempt < 3) throw new Error(`attempt ${attempt}`);
          return { attempt, ran };
        });
      },
      fails: async () =>
        step.do("hopeless", { retries: { limit: 1, delay: 20 } }, async () => {
          throw new TypeError("never works");
        }),
      fatal: async () =>
        step.do("fatal", { retries: { limit: 5, delay: 20 } }, async () => {
          throw new NonRetryableError("cannot be");
        }),
      slow: async () =>
        step.do("slow", { timeout: 100, retries: { limit: 0, delay: 1 } }, async () => scheduler.wait(5000)),
      event: async () => {
        const approval = await step.waitForEvent("approval", { type: "approved", timeout: payload.timeout ?? "1 hour" });
        return step.do("shipped", async () => ({ by: approval.payload.by, type: approval.type }));
      },
      large: async () => step.do("large", { retries: { limit: 0, delay: 1 } }, async () => "x".repeat(2 * 1024 * 1024)),
      stream: async () => {
        const body = await step.do("stream", async () => new Response("streamed").body);
        return new Response(body).text();
      },
      caught: async () => {
        try {
          await step.do("caught", { retries: { limit: 0, delay: 1 } }, async () => {
            throw new RangeError("out of bounds");
          });
        } catch (error) {
          return `${error.name}: ${error.message}`;
        }
      },
      long: async () => step.sleep("long", "366 days"),
      patient: async () => step.waitForEvent("patient", { type: "never", timeout: "2 years" }),
      distant: async () => step.sleepUntil("distant", Date.now() + 366 * 24 * 60 * 60 * 1000),
      busy: async () =>
        step.do("busy", async () => {
          const beside = ++busy;
          await scheduler.wait(payload.ms);
          busy--;
          return beside;
        }),
      parallel: async () =>
        Promise.all(["a", "b", "c"].map((name) => step.do(name, async () => `${name}-${await scheduler.wait(20)}`))),
      undo: async () => {
        await step.do("charge", async () => "charged", {
          rollback: async ({ output }) => console.log("refunded", output),
        });
        throw new Error("no stock");
      },
    };
    return kinds[payload.kind ?? "plain"]();
  }
}

export class Limited extends WorkflowEntrypoint {
  async run(_event, step) {
    for (let i = 0; i < 10; i++) await step.do(`step ${i}`, async () => i);
  }
}

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const [, binding, method, id] = pathname.split("/");
    const workflow = env[binding];
    const argument = request.method === "POST" ? await request.json() : undefined;
    try {
      switch (method) {
        case "create": {
          const instance = await workflow.create(argument);
          return Response.json({ id: instance.id, status: await instance.status() });
        }
        case "createBatch": {
          const made = await workflow.createBatch(argument);
          return Response.json(Array.isArray(made) ? made.map((one) => one.id) : made);
        }
        case "events": {
          const instance = await workflow.get(id);
          const subscription = await instance.subscribe();
          const types = [];
          for (;;) {
            const { done, value } = await subscription.next();
            if (done) break;
            types.push(value.type);
          }
          return Response.json(types);
        }
        case "deleteBatch":
          return Response.json(await workflow.deleteBatch(argument));
        default: {
          const instance = await workflow.get(id);
          const result = await instance[method](argument);
          return Response.json(result ?? null);
        }
      }
    } catch (error) {
      return Response.json({ name: error.name, message: error.message }, { status: 500 });
    }
  },
};
