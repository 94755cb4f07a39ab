// Base64, standard and for URLs, between text, bytes and JSON.

/** Bytes as standard base64 with padding. */
export function base64(content) {
  let binary = "";
  for (let at = 0; at < content.length; at += 8192) binary += String.fromCharCode(...content.subarray(at, at + 8192));
  return btoa(binary);
}

/** The bytes of base64 in either alphabet, padded or not; throws on anything else. */
export function bytes(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}

/** Bytes as base64 for URLs, without padding. */
export const base64url = (content) => base64(content).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");

/** What base64 of UTF-8 says, or null if it is something else or has control characters. */
export function readable(text) {
  try {
    const decoded = new TextDecoder("utf-8", { fatal: true }).decode(bytes(text));
    return /[\u0000-\u0008\u000e-\u001f]/.test(decoded) ? null : decoded;
  } catch {
    return null;
  }
}

export const textToBase64 = (text) => base64(new TextEncoder().encode(text));
