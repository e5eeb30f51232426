import { X509Certificate } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { isIP } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
import { UserError } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";

const log = createLogger("ingress.certificates");

/** PEM files of a certificate, its chain after it, and its key. */
export type CertificateFiles = { cert: string; key: string };

/** A certificate that can be shown. */
export type Certificate = { cert: Buffer; key: Buffer; context: SecureContext; covers: (host: string) => boolean };

/** Hosts remembered of one certificate: whether it stands for them. */
const hostsRemembered = 1024;

/** The certificates of the public port, read anew when their files change. What cannot be read leaves what was there in force. */
export class Certificates {
  readonly #files: readonly CertificateFiles[];
  readonly #onChange: () => void;
  #all: readonly Certificate[];
  #marks: string;
  #timer: NodeJS.Timeout | undefined;
  #looking = false;

  private constructor(files: readonly CertificateFiles[], loaded: Loaded, onChange: () => void) {
    this.#files = files;
    this.#onChange = onChange;
    this.#all = loaded.certificates;
    this.#marks = loaded.marks;
  }

  /** Reads the files; rejects with a UserError that says which cannot be used. */
  static async load(files: readonly CertificateFiles[], onChange: () => void): Promise<Certificates> {
    return new Certificates(files, await loadAll(files), onChange);
  }

  /** Shown to clients that name no host, or one that no certificate stands for. */
  get first(): Certificate {
    const [first] = this.#all;
    if (!first) throw new Error("there is no certificate");
    return first;
  }

  for(host: string | undefined): Certificate {
    return (host === undefined ? undefined : this.#all.find(({ covers }) => covers(host))) ?? this.first;
  }

  /** Looks every `everyMs` whether the files are others. */
  watch(everyMs: number): void {
    this.#timer = setInterval(() => void this.#look(), everyMs);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      if ((await marksOf(this.#files)) !== this.#marks) {
        const loaded = await loadAll(this.#files);
        this.#all = loaded.certificates;
        this.#marks = loaded.marks;
        this.#onChange();
        log.info("the certificates were read anew");
      }
    } catch (error) {
      // A renewal writes two files; between them they do not match. It is tried again at the next look.
      log.warn("the certificates have changed and cannot be used; the earlier ones stay", { error });
    } finally {
      this.#looking = false;
    }
  }
}

type Loaded = { certificates: Certificate[]; marks: string };

async function loadAll(files: readonly CertificateFiles[]): Promise<Loaded> {
  const marks = await marksOf(files);
  const certificates = await Promise.all(files.map(load));
  return { certificates, marks };
}

async function load(files: CertificateFiles): Promise<Certificate> {
  try {
    const [cert, key] = await Promise.all([readFile(files.cert), readFile(files.key)]);
    const context = createSecureContext({ cert, key });
    return { cert, key, context, covers: rememberingCovers(new X509Certificate(cert)) };
  } catch (cause) {
    throw new UserError(`The certificate ${files.cert} with the key ${files.key} cannot be used.`, { cause });
  }
}

function rememberingCovers(certificate: X509Certificate): (host: string) => boolean {
  const known = new Map<string, boolean>();
  return (host) => {
    const found = known.get(host);
    if (found !== undefined) return found;
    const covers = standsFor(certificate, host);
    if (known.size >= hostsRemembered) known.clear();
    known.set(host, covers);
    return covers;
  };
}

function standsFor(certificate: X509Certificate, host: string): boolean {
  const address = host.startsWith("[") ? host.slice(1, -1) : host;
  if (isIP(address) !== 0) return certificate.checkIP(address) !== undefined;
  // Whatever a client says in its first message comes here; what is no name at all makes the check throw.
  return isHostName.test(host) && certificate.checkHost(host) !== undefined;
}

const isHostName = /^[a-z0-9_.-]{1,253}$/;

/** What tells one state of the files from another, without reading them. */
async function marksOf(files: readonly CertificateFiles[]): Promise<string> {
  const all = await Promise.all(files.flatMap(({ cert, key }) => [stat(cert), stat(key)]));
  return all.map(({ ino, size, mtimeMs }) => `${ino}/${size}/${mtimeMs}`).join(" ");
}
