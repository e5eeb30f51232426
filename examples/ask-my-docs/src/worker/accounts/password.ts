/** The most that Workers allow for one PBKDF2 call. SHA-512 makes each of them dearer for whoever guesses. */
const iterations = 100_000;

/** As stored: `<iterations>$<salt>$<hash>`, so that a later, higher cost can still check an older password. */
export async function hashPassword(password: string): Promise<string> {
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const hash = await derive(password, salt, iterations);
  return [iterations, encode(salt), encode(hash)].join("$");
}

/** Takes as long when there is no such account, so that the time does not tell which emails have one. */
export async function verifyPassword(password: string, stored: string | undefined): Promise<boolean> {
  const [cost = "", salt = "", expected = ""] = (stored ?? `${iterations}$$`).split("$");
  const actual = await derive(password, decode(salt), Number(cost));
  const wanted = decode(expected);
  return actual.length === wanted.length && crypto.subtle.timingSafeEqual(actual, wanted);
}

async function derive(password: string, salt: Uint8Array, rounds: number): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey("raw", new TextEncoder().encode(password), "PBKDF2", false, ["deriveBits"]);
  const cost = { name: "PBKDF2", hash: "SHA-512", salt, iterations: rounds };
  return new Uint8Array(await crypto.subtle.deriveBits(cost, key, 256));
}

function encode(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

function decode(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
