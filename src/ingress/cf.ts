import { randomFillSync } from "node:crypto";
import { flat } from "#http/wire/flat.ts";

/** How a connection's client is described to Workers. */
export type Edge = { colo: string; scheme: "http" | "https" };

/** Country of a client that we know nothing about, as Cloudflare writes it (fundamentals/reference/http-headers, CF-IPCountry). */
const unknownCountry = "XX";

/** Address from which a Worker's requests to another zone come on Cloudflare, same page. */
const workerAddress = "2a06:98c0:3600::103";

/** What every proxy on the way counts itself in (RFC 8586), with the number of passes as Cloudflare writes it. */
const loopName = "solum";

/** Header lines that are the same for every request of one client. `address`: undefined for a Worker's own request. */
export function clientLines(edge: Edge, address: string | undefined): string {
  const ip = address ?? workerAddress;
  return (
    `cf-connecting-ip: ${ip}\r\nx-forwarded-for: ${ip}\r\nx-real-ip: ${ip}\r\n` +
    `x-forwarded-proto: ${edge.scheme}\r\ncf-visitor: {"scheme":"${edge.scheme}"}\r\ncf-ipcountry: ${unknownCountry}\r\n`
  );
}

/** The `CDN-Loop` line of a request that passes for the `pass`th time. */
export function loopLine(pass: number): string {
  return `cdn-loop: ${loopName}; loops=${pass}\r\n`;
}

const loopEntry = new RegExp(`(?:^|,)\\s*${loopName}(?:\\s*;\\s*loops=(\\d{1,4}))?\\s*(?=,|$)`, "gi");

/** How often a request with this `CDN-Loop` has passed already. */
export function passesSoFar(cdnLoop: string | undefined): number {
  if (cdnLoop === undefined) return 0;
  let passes = 0;
  for (const [, count] of cdnLoop.matchAll(loopEntry)) passes += count === undefined ? 1 : Number(count);
  return passes;
}

/** How a client's connection is protected; as in `request.cf`, whose names of ciphers are BoringSSL's. */
export type Transport = { httpProtocol: "HTTP/2" | undefined; tlsVersion: string; tlsCipher: string };

const plainTransport: Transport = { httpProtocol: undefined, tlsVersion: "", tlsCipher: "" };

/** OpenSSL's names of the ciphers of TLS 1.3, as Cloudflare shows them (AEAD-AES128-GCM-SHA256 in request.cf.tlsCipher). */
export function cfCipherName(openssl: string): string {
  return openssl.startsWith("TLS_")
    ? openssl.replace("TLS_AES_", "AEAD-AES").replace("TLS_", "AEAD-").replaceAll("_", "-")
    : openssl;
}

/** The JSON of `request.cf` for a request of HTTP/1.`minor`, or of HTTP/2 where the transport says so. */
export type CfBlob = (minor: number, acceptEncoding: string | undefined) => string;

const blobsRemembered = 512;
const rememberedBytes = 128;

/**
 * The JSON of `request.cf`, by what varies between requests. The documented keys are always there
 * (workers/runtime-apis/request, IncomingRequestCfProperties), with the values of a request that nothing is known about.
 */
export function cfBlobs(colo: string): (transport?: Transport) => CfBlob {
  // One for each cipher and version that a client may choose: a few dozen at most.
  const byTransport = new Map<string, CfBlob>();
  return (transport = plainTransport) => {
    const key = `${transport.httpProtocol}/${transport.tlsVersion}/${transport.tlsCipher}`;
    let blobs = byTransport.get(key);
    if (!blobs) {
      blobs = blobsOf(colo, transport);
      byTransport.set(key, blobs);
    }
    return blobs;
  };
}

function blobsOf(colo: string, transport: Transport): CfBlob {
  const [before, after] = splitAtVarying(colo, transport);
  const known = [new Map<string, string>(), new Map<string, string>()] as const;
  return (minor, acceptEncoding = "") => {
    const byEncoding = known[minor === 0 ? 0 : 1];
    const found = byEncoding.get(acceptEncoding);
    if (found !== undefined) return found;
    const blob = flat(
      `${before}"httpProtocol":"${transport.httpProtocol ?? `HTTP/1.${minor}`}","clientAcceptEncoding":${asciiJson(acceptEncoding)}${after}`,
    );
    if (acceptEncoding.length <= rememberedBytes) {
      if (byEncoding.size >= blobsRemembered) byEncoding.clear();
      byEncoding.set(flat(acceptEncoding), blob);
    }
    return blob;
  };
}

function splitAtVarying(colo: string, { tlsVersion, tlsCipher }: Transport): [string, string] {
  const constant = JSON.stringify({
    clientTcpRtt: 0,
    colo,
    country: unknownCountry,
    isEUCountry: false,
    city: "",
    continent: "",
    latitude: "",
    longitude: "",
    metroCode: "",
    postalCode: "",
    region: "",
    regionCode: "",
    timezone: "UTC",
    asn: 0,
    asOrganization: "",
    edgeRequestKeepAliveStatus: 1,
    requestPriority: "",
    tlsCipher,
    tlsVersion,
    tlsClientAuth: noClientCertificate,
    tlsClientHelloLength: "",
    tlsClientRandom: "",
    tlsClientCiphersSha1: "",
    tlsClientExtensionsSha1: "",
    tlsClientExtensionsSha1Le: "",
    verifiedBotCategory: "",
    botManagement: {
      corporateProxy: false,
      verifiedBot: false,
      staticResource: false,
      detectionIds: [],
      score: 99,
    },
  });
  return ["{", `,${constant.slice(1)}`];
}

/** `tlsClientAuth` without mTLS, as a request to Cloudflare shows it (the same keys are in miniflare's fallback). */
const noClientCertificate = {
  certPresented: "0",
  certVerified: "NONE",
  certRevoked: "0",
  certIssuerDN: "",
  certSubjectDN: "",
  certIssuerDNRFC2253: "",
  certSubjectDNRFC2253: "",
  certIssuerDNLegacy: "",
  certSubjectDNLegacy: "",
  certSerial: "",
  certIssuerSerial: "",
  certSKI: "",
  certIssuerSKI: "",
  certFingerprintSHA1: "",
  certFingerprintSHA256: "",
  certNotBefore: "",
  certNotAfter: "",
};

/** JSON in ASCII: the head is written as Latin-1 and workerd reads it as UTF-8. */
function asciiJson(text: string): string {
  return JSON.stringify(text).replaceAll(
    /[\u007f-\u00ff]/g,
    (character) => `\\u00${character.charCodeAt(0).toString(16)}`,
  );
}

const rayBytes = 8;

/** Makes ids for `CF-Ray`: 16 hexadecimal digits and the colo. Drawn from a pool; one system call for 512 of them. */
export function raySource(colo: string): () => string {
  const pool = Buffer.alloc(rayBytes * 512);
  const suffix = `-${colo}`;
  let at = pool.length;
  return () => {
    if (at === pool.length) {
      randomFillSync(pool);
      at = 0;
    }
    at += rayBytes;
    return pool.toString("hex", at - rayBytes, at) + suffix;
  };
}

/** Gives the value of `Date`, made anew once a second. */
export function dateSource(): () => string {
  let second = 0;
  let text = "";
  return () => {
    const now = Math.floor(Date.now() / 1000);
    if (now !== second) {
      second = now;
      text = new Date(now * 1000).toUTCString();
    }
    return text;
  };
}
