/**
 * Bookmarks of one database, in the form of D1's: they sort as text in the order of the database's versions. There is one
 * copy of a database, the primary, so every bookmark of it is already satisfied.
 */
export class Bookmarks {
  readonly #database: string;
  #time: number;
  #count = 0;

  /** `now` in milliseconds: a host that was started later gives greater bookmarks. */
  constructor(database: string, now: number) {
    this.#database = database.replaceAll("-", "");
    this.#time = now;
  }

  /** After a change. */
  advance(now: number): void {
    // The clock can be set back while the database is open.
    if (now > this.#time) [this.#time, this.#count] = [now, 0];
    else this.#count++;
  }

  get current(): string {
    const time = hex(this.#time, 16);
    return `${time.slice(0, 8)}-${time.slice(8)}-${hex(this.#count, 8)}-${this.#database}`;
  }
}

function hex(number: number, digits: number): string {
  return number.toString(16).padStart(digits, "0");
}
