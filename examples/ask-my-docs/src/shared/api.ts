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
  /** Passages that were read of a document of text, to be asked about; null before. */
  passages: number | null;
}

export interface DocumentList {
  documents: Document[];
  usedBytes: number;
}

/** An archive that becomes documents. */
export interface ArchiveImport {
  id: string;
  name: string;
  /** Files that become documents; null until the archive was looked into. */
  files: number | null;
  imported: number;
  /** Files there is no room for. */
  leftOut: number;
  /** Why it did not work, for people. */
  problem: string | null;
  endedAt: number | null;
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

/** What a question is asked for. Costs are counted by it. */
export type Feature = "answer" | "summary";

export interface Question {
  documentId: string;
  feature: Feature;
  /** Empty for a summary. */
  text: string;
}

/** Headers of an answer, whose body is its text as it comes. */
export const answerHeaders = { cache: "x-answer-cache", model: "x-answer-model" } as const;

/** What one feature cost so far. */
export interface FeatureCost {
  feature: Feature;
  questions: number;
  /** Answered from the cache, for nothing. */
  cached: number;
  tokens: number;
  /** US dollars. */
  cost: number;
  /** Questions to models whose price is not known, and those whose cost has not been told yet. */
  unknown: number;
}

export interface ErrorBody {
  error: { code: string; message: string; field?: string };
}
