// Verifying a decision receipt in the page (RFC-MACP-0013): the commitment's hash, its wire bytes, the signatures.
// Nothing here asks the server for a judgement; it only needs its public keys.

import { base64url, bytes } from "./base64.js";
import { decode } from "./protobuf.js";
import { COMMITMENT } from "./schema.js";

const utf8 = new TextEncoder();

/** The form of JSON that is hashed and signed (RFC 8785). Receipts hold no numbers but small integers. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`);
  return `{${members.join(",")}}`;
}

/** The members of a Commitment that the hash covers: eight, and `supersedes` only where it is set. */
export function projection(commitment) {
  const members = {};
  for (const { name, type } of COMMITMENT.fields) {
    if (name !== "supersedes") members[name] = commitment[name] ?? (type === "bool" ? false : "");
  }
  const { supersedes } = commitment;
  if (supersedes) {
    members.supersedes = { session_id: supersedes.session_id ?? "", commitment_hash: supersedes.commitment_hash ?? "" };
  }
  return members;
}

/** `sha256:` and 64 hexadecimal digits, under the label `macp-commitment-hash/1`. */
export async function commitmentHash(commitment) {
  const digest = await crypto.subtle.digest(
    "SHA-256",
    utf8.encode(`macp-commitment-hash/1:${canonical(projection(commitment))}`),
  );
  return `sha256:${[...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/**
 * Checks a receipt step by step. Gives `{checks, verdict}`: each check has a `name`, an `outcome` of `pass`, `fail` or
 * `none` (nothing to check, or nothing to check it with), and what there is to `say`. The verdict is `attested`,
 * `integrity_only`, `unverified` or `refused`, as Appendix A.4 of the RFC has them.
 */
export async function verify(receipt, keys) {
  const checks = [];
  const check = (name, outcome, say) => (checks.push({ name, outcome, say }), outcome === "pass");
  if (!globalThis.crypto?.subtle) {
    check("Web Cryptography", "none", "this page is not a secure context, so the browser computes no hashes here");
    return { checks, verdict: "unverified" };
  }
  if (!check("Format", receipt.receipt_format === "macp-receipt/1" ? "pass" : "fail", String(receipt.receipt_format))) {
    return { checks, verdict: "refused" };
  }
  const hash = await commitmentHash(receipt.commitment ?? {});
  const strange = Object.keys(receipt.commitment ?? {}).filter(
    (name) => !COMMITMENT.fields.some((field) => field.name === name),
  );
  let whole = check(
    "Commitment hash",
    hash === receipt.commitment_hash && strange.length === 0 ? "pass" : "fail",
    strange.length ? `not covered: ${strange.join(", ")}` : hash,
  );
  if (receipt.commitment_wire_b64 === undefined) check("Bytes on the wire", "none", "the receipt does not carry them");
  else whole = wire(receipt, check) && whole;
  if (!whole) return { checks, verdict: "unverified" };

  const attestations = receipt.attestations ?? [];
  if (attestations.length === 0) check("Signature", "none", "this gateway signs no receipts");
  let attested = false;
  for (const attestation of attestations) {
    const { outcome, say } = await signature(receipt, attestation, keys);
    attested = check("Signature", outcome, say) || attested;
  }
  return { checks, verdict: attested ? "attested" : "integrity_only" };
}

function wire(receipt, check) {
  try {
    const unknown = [];
    const payload = decode(COMMITMENT, bytes(receipt.commitment_wire_b64), {
      unknown: (number) => unknown.push(number),
    });
    if (unknown.length) return check("Bytes on the wire", "fail", `fields that no hash covers: ${unknown.join(", ")}`);
    const same = canonical(projection(payload)) === canonical(projection(receipt.commitment));
    return check(
      "Bytes on the wire",
      same ? "pass" : "fail",
      same
        ? `${bytes(receipt.commitment_wire_b64).length} bytes decode to the same commitment`
        : "they say something else",
    );
  } catch (error) {
    return check("Bytes on the wire", "fail", error.message);
  }
}

/** One detached JWS over the receipt without its attestations. */
async function signature(receipt, { type, jws }, keys) {
  const none = (say) => ({ outcome: "none", say });
  const fail = (say) => ({ outcome: "fail", say });
  if (type !== "jws") return none(`an attestation of type ${type} is not known here`);
  const parts = String(jws).split(".");
  if (parts.length !== 3 || parts[1] !== "") return fail("not a detached JWS");
  let header, signed;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes(parts[0])));
    signed = bytes(parts[2]);
  } catch {
    return fail("not base64url of JSON");
  }
  if (header.alg !== "EdDSA") return none(`the algorithm ${header.alg} is not known here`);
  const jwk = keys.find((key) => key.kid === header.kid);
  if (!jwk) return none(`the key ${header.kid} is not among the gateway's`);
  let key;
  try {
    key = await crypto.subtle.importKey("jwk", { kty: "OKP", crv: "Ed25519", x: jwk.x }, "Ed25519", false, ["verify"]);
  } catch (error) {
    return none(error.name === "NotSupportedError" ? "this browser has no Ed25519" : "the key is not usable");
  }
  const { attestations, ...body } = receipt;
  const input = utf8.encode(`${parts[0]}.${base64url(utf8.encode(canonical(body)))}`);
  return (await crypto.subtle.verify("Ed25519", key, signed, input))
    ? { outcome: "pass", say: `Ed25519, key ${header.kid}` }
    : fail("it does not belong to this text");
}
