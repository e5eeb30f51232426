import { createHash, randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { d1Errors } from "#products/d1/errors.ts";
import { limits } from "#products/d1/limits.ts";

type Upload = {
  databaseId: string;
  filename: string;
  file: string;
  /** MD5 of what is to come, hexadecimal. */
  etag: string;
  state: "wanted" | "arriving" | "stored" | "wrong";
  bytes: number;
  createdAt: number;
};

/** Files on their way to an import. Only who asked for an upload knows its token, and it can be used once. */
export class Uploads {
  readonly #folder: string;
  readonly #byToken = new Map<string, Upload>();

  /** `folder` is emptied at start, like what is remembered here. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  async open(databaseId: string, etag: string): Promise<{ token: string; filename: string }> {
    if (!/^[0-9a-f]{32}$/i.test(etag)) throw d1Errors.invalidEtag();
    await this.#forgetOld();
    if (this.#byToken.size >= limits.imports) throw d1Errors.tooManyImports();
    await mkdir(this.#folder, { recursive: true });
    const token = randomBytes(32).toString("hex");
    const filename = `${databaseId}.${token.slice(0, 16)}.sql`;
    this.#byToken.set(token, {
      databaseId,
      filename,
      file: join(this.#folder, `d1-${filename}`),
      etag: etag.toLowerCase(),
      state: "wanted",
      bytes: 0,
      createdAt: Date.now(),
    });
    return { token, filename };
  }

  /** Keeps the bytes of `body`; their MD5. */
  async receive(token: string, body: AsyncIterable<Uint8Array>): Promise<string> {
    const upload = this.#byToken.get(token);
    if (upload?.state !== "wanted" || upload.createdAt < Date.now() - limits.uploadMs) throw d1Errors.uploadNotFound();
    upload.state = "arriving";
    try {
      const { md5, bytes } = await writeFile(upload.file, body);
      upload.state = md5 === upload.etag ? "stored" : "wrong";
      upload.bytes = bytes;
      return md5;
    } catch (error) {
      upload.state = "wanted";
      await rm(upload.file, { force: true });
      throw error;
    }
  }

  /** The file that was uploaded; the taker removes it. */
  take(databaseId: string, wanted: { filename: string; etag: string }): { file: string; bytes: number } {
    const etag = wanted.etag.toLowerCase();
    for (const [token, upload] of this.#byToken) {
      const same = upload.filename === wanted.filename && upload.databaseId === databaseId && upload.etag === etag;
      if (!same || upload.state !== "stored") continue;
      this.#byToken.delete(token);
      return upload;
    }
    throw d1Errors.unknownFile();
  }

  async #forgetOld(): Promise<void> {
    const oldest = Date.now() - limits.uploadMs;
    for (const [token, { createdAt, state, file }] of this.#byToken) {
      if (createdAt >= oldest || state === "arriving") continue;
      this.#byToken.delete(token);
      await rm(file, { force: true });
    }
  }
}

async function writeFile(file: string, body: AsyncIterable<Uint8Array>): Promise<{ md5: string; bytes: number }> {
  const hash = createHash("md5");
  let bytes = 0;
  const metered = async function* (source: AsyncIterable<Uint8Array>) {
    for await (const piece of source) {
      bytes += piece.length;
      if (bytes > limits.importBytes) throw d1Errors.uploadTooLarge(limits.importBytes);
      hash.update(piece);
      yield piece;
    }
  };
  await pipeline(Readable.from(body), metered, createWriteStream(file, { mode: 0o600 }));
  return { md5: hash.digest("hex"), bytes };
}
