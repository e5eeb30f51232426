/** Known to both sides: the Worker enforces these, and the pages say no before sending what would be refused. */
export const limits = {
  emailLength: 254,
  passwordLengthMin: 10,
  passwordLengthMax: 200,
  /** The most that Cloudflare passes on in one request on its free and pro plans. */
  uploadBytes: 100_000_000,
  documentsPerUser: 500,
  storageBytesPerUser: 1_000_000_000,
  documentNameLength: 200,
  notesPerUser: 2_000,
  notesListed: 100,
  noteTitleLength: 200,
  noteBodyLength: 100_000,
  searchLength: 100,
  questionLength: 1_000,
  questionsPerDay: 200,
  /** Of a longer document only the beginning is read. */
  bytesRead: 2_000_000,
  /** Passages that a model is shown of a document's beginning. */
  passagesOfBeginning: 10,
  /** Passages that a model is shown because they have words of the question. */
  passagesFound: 30,
} as const;
