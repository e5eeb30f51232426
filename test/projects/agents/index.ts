import { Agent, callable, routeAgentRequest, type Connection } from "agents";

type State = { count: number; log: string[] };
interface Env {
  Counter: DurableObjectNamespace<Counter>;
}

/** What the starter of the SDK shows: state, calls, a schedule, SQL, and an answer by HTTP. */
export class Counter extends Agent<Env, State> {
  override initialState: State = { count: 0, log: [] };

  @callable()
  increment(by: number) {
    this.setState({ ...this.state, count: this.state.count + by });
    return this.state.count;
  }

  @callable()
  async later(seconds: number, text: string) {
    const { id } = await this.schedule(seconds, "onLater", { text });
    return id;
  }

  @callable()
  two() {
    return this.sql`SELECT 1 + 1 AS two`;
  }

  onLater({ text }: { text: string }) {
    this.setState({ ...this.state, log: [...this.state.log, text] });
  }

  override onConnect(connection: Connection) {
    connection.send(JSON.stringify({ type: "hello", name: this.name }));
  }

  override onRequest() {
    return Response.json(this.state);
  }
}

export default {
  async fetch(request: Request, env: Env) {
    return (await routeAgentRequest(request, env)) ?? new Response("no agent", { status: 404 });
  },
};
