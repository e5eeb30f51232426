/** What a capability of kind `kind` allows: the use of one database. */
export type Grant = { kind: string; database: string };

/** Tokens kept after their first use; a binding sends the same one for ever. */
const tokensRemembered = 4096;

/** `readCapability` of `#core/capability.ts` for workerd: with WebCrypto, and no MAC is computed twice for the same token. */
export function grantReader(keyHex: string): (token: string) => Grant | undefined | Promise<Grant | undefined> {
  const known = new Map<string, Grant>();
  const verify = async (token: string) => {
    const grant = await verified(keyHex, token);
    if (grant) {
      if (known.size >= tokensRemembered) known.clear();
      known.set(token, grant);
    }
    return grant;
  };
  return (token) => known.get(token) ?? verify(token);
}

async function verified(keyHex: string, token: string): Promise<Grant | undefined> {
  const [kind, scope, encoded, mac, ...rest] = token.split(":");
  if (kind === undefined || scope === undefined || encoded === undefined || mac === undefined || rest.length > 0)
    return undefined;
  let database: string;
  try {
    database = decodeURIComponent(encoded);
  } catch {
    return undefined;
  }
  const key = await crypto.subtle.importKey("raw", fromHex(keyHex), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const signature = await crypto.subtle.sign("HMAC", key, utf8.encode(`${kind}\n${scope}\n${database}`));
  return sameText(base64url(new Uint8Array(signature)).slice(0, 32), mac) ? { kind, database } : undefined;
}

const utf8 = new TextEncoder();

function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** Takes as long for every wrong text of the same length, so that a MAC cannot be guessed letter by letter. */
function sameText(wanted: string, given: string): boolean {
  if (wanted.length !== given.length) return false;
  let difference = 0;
  for (let index = 0; index < wanted.length; index++) difference |= wanted.charCodeAt(index) ^ given.charCodeAt(index);
  return difference === 0;
}
