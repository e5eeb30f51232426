import { limits } from "../../shared/limits.ts";
import { columns, keyOf, type Row } from "../documents/rows.ts";
import type { Env } from "../env.ts";
import { replacePassages } from "./passages.ts";
import { splitText } from "./split.ts";

/** What the queue carries: a document of text that is to be read. */
export interface ToRead {
  documentId: string;
}

/**
 * Reads documents into passages. A message may come twice, and the second reading changes nothing. One that fails comes again
 * in a while, three times, and then waits in the dead letter queue for somebody to look at it.
 */
export async function readDocuments(batch: MessageBatch<ToRead>, env: Env): Promise<void> {
  for (const message of batch.messages) {
    try {
      await readDocument(env, message.body.documentId);
      message.ack();
    } catch (error) {
      console.error("a document could not be read", message.body.documentId, error);
      message.retry({ delaySeconds: 10 * message.attempts });
    }
  }
}

async function readDocument({ DB, UPLOADS }: Env, id: string): Promise<void> {
  const document = await DB.prepare(`SELECT ${columns} FROM documents WHERE id = ?`).bind(id).first<Row>();
  // It was deleted before its turn came.
  if (document === null) return;
  const object = await UPLOADS.get(keyOf(document), { range: { offset: 0, length: limits.bytesRead } });
  if (object === null) return;
  // A character that is cut in half at the end is left out.
  const text = new TextDecoder().decode(await object.arrayBuffer(), { stream: true });
  await replacePassages(DB, id, splitText(text));
}
