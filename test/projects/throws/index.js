throw new TypeError("thrown at start-up");
export default { fetch: () => new Response("never") };
