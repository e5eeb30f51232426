/** What the Worker and the pages say to each other. Times are milliseconds since 1970, sizes are bytes. */

export interface Account {
  email: string;
}

export interface Document {
  id: string;
  name: string;
  type: string;
  size: number;
  uploadedAt: number;
}

export interface DocumentList {
  documents: Document[];
  usedBytes: number;
}

export interface DocumentLink {
  url: string;
  expiresAt: number;
}

export interface Note {
  id: string;
  title: string;
  body: string;
  /** Counts the saves. A save names the revision it changed, so that two windows cannot overwrite each other unseen. */
  revision: number;
  updatedAt: number;
}

export interface NoteSummary {
  id: string;
  title: string;
  /** The start of the note, or what a search found in it with `marks` around each hit. */
  excerpt: string;
  updatedAt: number;
}

/** Characters that nobody types, around what a search found. */
export const marks = { start: "\u0002", end: "\u0003" } as const;

export interface ErrorBody {
  error: { code: string; message: string; field?: string };
}
