// Names, times and states as people read them.

/** `agent://ada` is `ada` on the page; the whole name stays in titles and in code. */
export const shortName = (sender) => String(sender ?? "").replace(/^agent:\/\//, "") || "nobody";

/** The first eight characters of an id are enough to tell a few apart. */
export const shortId = (id) => (id.length > 13 ? `${id.slice(0, 8)}…` : id);

/** `SESSION_STATE_OPEN` is `open`. */
export const stateName = (state) =>
  String(state ?? "")
    .replace("SESSION_STATE_", "")
    .toLowerCase() || "unknown";

export const isOver = (state) => ["resolved", "cancelled", "expired"].includes(stateName(state));

/** Milliseconds, as precise as they are worth: 0.8 ms, 14 ms, 2.1 s. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Time of day, with seconds. */
export const clock = (time) =>
  new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** How long ago, in one short word or two. */
export function ago(unixMs, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - unixMs) / 1000));
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(unixMs).toLocaleDateString();
}

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** `APPROVE` is `approve`: values of the protocol inside sentences. */
export const lower = (text) => String(text ?? "").toLowerCase();

/** Ids of version 4, also where the page is not a secure context and `randomUUID` is missing. */
export function uuid() {
  if (globalThis.crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** The refusal of an Ack or an error, with its details decoded. */
export function refusal(error) {
  let details = error?.details ?? null;
  if (typeof details === "string" && details) {
    try {
      details = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(details), (c) => c.charCodeAt(0))));
    } catch {
      // Not the base64 of JSON: shown as it is.
    }
  }
  return { code: error?.code ?? "ERROR", message: error?.message ?? String(error), details: details || null };
}
