import { generateKeyPairSync, randomBytes, sign, X509Certificate } from "node:crypto";

/** A certificate for `names` that nobody has signed but its own key, in PEM; for tests alone. */
export function selfSigned(...names: string[]): { cert: string; key: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const subject = sequence(set(sequence(oid(2, 5, 4, 3), tagged(0x0c, Buffer.from(names[0] ?? "test")))));
  const alternatives = sequence(...names.map((name) => tagged(0x82, Buffer.from(name))));
  // The client of a test is told to trust it, so it must be an authority.
  const authority = sequence(
    oid(2, 5, 29, 19),
    tagged(0x01, Buffer.from([0xff])),
    octets(sequence(tagged(0x01, Buffer.from([0xff])))),
  );
  const body = sequence(
    tagged(0xa0, tagged(0x02, Buffer.from([2]))),
    tagged(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ecdsaWithSha256,
    subject,
    sequence(time(-1), time(1)),
    subject,
    publicKey.export({ type: "spki", format: "der" }),
    tagged(0xa3, sequence(authority, sequence(oid(2, 5, 29, 17), octets(alternatives)))),
  );
  const signature = sign("sha256", body, privateKey);
  const whole = sequence(body, ecdsaWithSha256, tagged(0x03, Buffer.concat([Buffer.from([0]), signature])));
  return {
    cert: new X509Certificate(whole).toString(),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

function tagged(tag: number, content: Buffer): Buffer {
  const { length } = content;
  let size = [length];
  if (length > 127) size = length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function sequence(...items: Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(items));
}

function set(...items: Buffer[]): Buffer {
  return tagged(0x31, Buffer.concat(items));
}

function octets(content: Buffer): Buffer {
  return tagged(0x04, content);
}

function oid(first: number, second: number, ...rest: number[]): Buffer {
  const bytes = rest.flatMap((part) => {
    const digits = [part & 127];
    for (let left = part >> 7; left > 0; left >>= 7) digits.unshift((left & 127) | 128);
    return digits;
  });
  return tagged(0x06, Buffer.from([first * 40 + second, ...bytes]));
}

/** UTCTime, so many days from now. */
function time(days: number): Buffer {
  const text = new Date(Date.now() + days * 86_400_000).toISOString().replaceAll(/[-:T]/g, "");
  return tagged(0x17, Buffer.from(`${text.slice(2, 14)}Z`));
}

const ecdsaWithSha256 = sequence(oid(1, 2, 840, 10_045, 4, 3, 2));
