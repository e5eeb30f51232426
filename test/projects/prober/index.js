import { connect } from "cloudflare:sockets";
import { readFileSync, readdirSync } from "node:fs";
import http from "node:http";
import net from "node:net";

/** Tries to get somewhere, in every way that a Worker has. Resolves only when it got there. */
const ways = {
  fetch: async (to) => (await fetch(to)).status,
  connect: async (to) => (await connect(to).opened) && "opened",
  parts: async (to) => (await connect({ hostname: to, port: 80 }).opened) && "opened",
  socket: (to) =>
    new Promise((resolve, reject) => {
      const socket = net.connect(to.startsWith("/") ? { path: to } : { host: to.split(" ")[0], port: Number(to.split(" ")[1]) });
      socket.on("connect", () => resolve("opened")).on("error", reject);
    }),
  request: (to) =>
    new Promise((resolve, reject) => {
      const options = to.startsWith("/") ? { socketPath: to, path: "/ready" } : to;
      http.request(options, (response) => resolve(response.statusCode)).on("error", reject).end();
    }),
  websocket: (to) =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(to);
      socket.addEventListener("open", () => resolve("opened"));
      socket.addEventListener("error", (event) => reject(event.error ?? new Error(event.message)));
      socket.addEventListener("close", () => reject(new Error("closed")));
    }),
  file: async (to) => readFileSync(to, "latin1"),
  folder: async (to) => readdirSync(to),
};

export default {
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/redirect") return Response.redirect(url.searchParams.get("to"), 302);
    const { way, to } = await request.json();
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("nothing came")), 8000);
    });
    try {
      return Response.json({ reached: await Promise.race([ways[way](to), late]) });
    } catch (error) {
      return Response.json({ refused: `${error.name}: ${error.message}` });
    } finally {
      clearTimeout(timer);
    }
  },
};
