/** What a front's proxy and an owner's broker say to each other. */
export type BrokerProps = {
  /** Name of the binding that is the namespace: its id. */
  namespace: string;
  /** Of the object, hexadecimal. */
  id: string;
  name: string | undefined;
};

export const brokerService = "broker";
export const brokerEntrypoint = "Broker";

/** Message of the error that says: nothing of this call has begun, since this process is being replaced. */
export const movedMessage = "solum: this object's process is being replaced";

/** Keys of what a broker hands calls to as a whole, instead of to one of its objects. No namespace's id begins so. */
export const wholeKeyPrefix = "w";

/** Below this and such a key a broker answers by POST what is asked of it, JSON for JSON. */
export const askPath = "/ask/";
/** Answers of that: nothing of the request has begun, since the process makes room for another; or it has failed. */
export const movedStatus = 503;
export const askFailedStatus = 422;
/** Of a request that failed: what was thrown. */
export type AskFailure = { name: string; message: string };

/** What answers there, under this name and the key. `busy`: how much is under way that no request waits for. */
export const askedPrefix = "admin:";
export type Asked = { ask(request: unknown): Promise<unknown>; busy(): Promise<number> };

/** Method that answers when the process is about to be replaced. */
export const watchMethod = "__solum_watch";

/**
 * Where the supervisor asks the broker to begin nothing more; `ms`: how long what is under way may take; `why`: what
 * `watchMethod` answers.
 */
export const drainPath = "/drain";

/** Answer of `watchMethod` in a process that makes room for other code; one that is only put to sleep answers otherwise. */
export const updatedText = "updated";

/** Where a front asks for a namespace's owner to be started. */
export const wakePath = "/wake";

/** Answer of that when the process before was ended to make room for the present one. */
export const replacedText = "replaced";

/** Header of that answer: how long after an answer of the owner nobody needs to ask whether it still runs, ms. */
export const trustHeader = "x-trust-ms";
