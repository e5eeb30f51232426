import { Reader, ZipReader, configure, getMimeType } from "@zip.js/zip.js/index-native.js";

// A Worker has no Web Workers, and its streams are native.
configure({ useWebWorkers: false });

/** A file in an archive that can become a document. */
export interface ArchiveFile {
  /** Its place among all entries of the archive. */
  index: number;
  name: string;
  type: string;
  size: number;
}

/** Reads an archive in R2 by ranges: its table of contents, and of its files only those that are asked for. */
class R2Reader extends Reader<R2Bucket> {
  readonly #bucket: R2Bucket;
  readonly #key: string;

  constructor(bucket: R2Bucket, key: string) {
    super(bucket);
    this.#bucket = bucket;
    this.#key = key;
  }

  override async init(): Promise<void> {
    await super.init?.();
    this.size = (await this.#bucket.head(this.#key))?.size ?? 0;
  }

  override async readUint8Array(offset: number, length: number): Promise<Uint8Array> {
    const object = await this.#bucket.get(this.#key, { range: { offset, length } });
    return object === null ? new Uint8Array() : object.bytes();
  }
}

/** The files of an archive, without folders and without what systems put beside them. Throws when it is no archive. */
export async function listFiles(bucket: R2Bucket, key: string): Promise<ArchiveFile[]> {
  const entries = await new ZipReader(new R2Reader(bucket, key)).getEntries();
  return entries.flatMap((entry, index) => {
    const name = entry.filename.split("/").at(-1) ?? "";
    const isHidden = name.startsWith(".") || entry.filename.startsWith("__MACOSX/");
    if (entry.directory || entry.encrypted || isHidden || name === "") return [];
    return [{ index, name, type: getMimeType(name), size: entry.uncompressedSize }];
  });
}

/** Writes one file of an archive to `writable`. */
export async function takeOut(
  bucket: R2Bucket,
  key: string,
  { index, writable }: { index: number; writable: WritableStream },
): Promise<void> {
  const entry = (await new ZipReader(new R2Reader(bucket, key)).getEntries())[index];
  if (entry === undefined || entry.directory) throw new Error("the archive is not what it was");
  await entry.getData(writable);
}
