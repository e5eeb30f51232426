for (;;) globalThis.x = 1;
export default { fetch: () => new Response("never") };
