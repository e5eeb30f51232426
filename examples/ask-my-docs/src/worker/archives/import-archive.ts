import { WorkflowEntrypoint, type WorkflowEvent, type WorkflowStep } from "cloudflare:workers";
import { NonRetryableError } from "cloudflare:workflows";
import { isText } from "../../shared/is-text.ts";
import { limits } from "../../shared/limits.ts";
import { keyOf } from "../documents/rows.ts";
import type { Env } from "../env.ts";
import { listFiles, takeOut, type ArchiveFile } from "./archive-reader.ts";
import { archiveKey } from "./routes.ts";

/** What an import begins with. */
export interface ImportRequest {
  id: string;
  userId: string;
}

type Chosen = ArchiveFile & { documentId: string };

/**
 * Takes an archive apart into documents, a step for each file: what is done stays done, whatever happens in between, and a
 * step that is tried again writes the same document.
 */
export class ImportArchive extends WorkflowEntrypoint<Env, ImportRequest> {
  override async run({ payload }: WorkflowEvent<ImportRequest>, step: WorkflowStep): Promise<void> {
    try {
      const files = await step.do("look inside", async () => this.#choose(payload));
      for (const file of files) {
        await step.do(`take out file ${file.index}`, async () => this.#import(payload, file));
      }
      await step.do("end", async () => this.#end(payload, null));
    } catch (error) {
      const problem = error instanceof Error ? error.message.replace(/^NonRetryableError: /, "") : "It did not work.";
      await step.do("end with a problem", async () => this.#end(payload, problem));
    }
  }

  /** The files that there is room for, each with the id that its document will have. */
  async #choose({ id, userId }: ImportRequest): Promise<Chosen[]> {
    const { DB, UPLOADS } = this.env;
    const files = await listFiles(UPLOADS, archiveKey({ id, userId })).catch(() => {
      throw new NonRetryableError("This is not a ZIP file that can be read.");
    });
    const used = await DB.prepare(
      "SELECT count(*) AS files, coalesce(sum(size), 0) AS bytes FROM documents WHERE user_id = ?",
    )
      .bind(userId)
      .first<{ files: number; bytes: number }>();
    let [room, bytes] = [limits.documentsPerUser - (used?.files ?? 0), limits.storageBytesPerUser - (used?.bytes ?? 0)];
    const chosen = files.flatMap((file): Chosen[] => {
      const fits = room > 0 && file.size <= Math.min(bytes, limits.uploadBytes);
      if (!fits || file.name.length > limits.documentNameLength) return [];
      room--;
      bytes -= file.size;
      return [{ ...file, documentId: crypto.randomUUID() }];
    });
    await DB.prepare("UPDATE imports SET files = ?, left_out = ? WHERE id = ?")
      .bind(chosen.length, files.length - chosen.length, id)
      .run();
    return chosen;
  }

  async #import({ id, userId }: ImportRequest, file: Chosen): Promise<void> {
    const { DB, READING, UPLOADS } = this.env;
    const key = keyOf({ id: file.documentId, userId });
    const { readable, writable } = new FixedLengthStream(file.size);
    await Promise.all([
      UPLOADS.put(key, readable, { httpMetadata: { contentType: file.type } }),
      takeOut(UPLOADS, archiveKey({ id, userId }), { index: file.index, writable }),
    ]);
    await DB.batch([
      DB.prepare(
        "INSERT OR IGNORE INTO documents (id, user_id, name, type, size, uploaded_at, import_id) VALUES (?, ?, ?, ?, ?, ?, ?)",
      ).bind(file.documentId, userId, file.name, file.type, file.size, Date.now(), id),
      DB.prepare(
        "UPDATE imports SET imported = (SELECT count(*) FROM documents WHERE import_id = ?1) WHERE id = ?1",
      ).bind(id),
    ]);
    if (isText(file)) await READING.send({ documentId: file.documentId });
  }

  async #end({ id, userId }: ImportRequest, problem: string | null): Promise<void> {
    await this.env.UPLOADS.delete(archiveKey({ id, userId }));
    await this.env.DB.prepare("UPDATE imports SET problem = ?, ended_at = ? WHERE id = ?")
      .bind(problem, Date.now(), id)
      .run();
  }
}
