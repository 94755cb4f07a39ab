// Protobuf, as much of it as the table in schema.js has: messages as plain objects, bytes as base64 text.

import { base64, bytes } from "./base64.js";

const VARINT = 0,
  FIXED64 = 1,
  LENGTH = 2,
  FIXED32 = 5;
const utf8 = new TextEncoder();
const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// --- writing ---------------------------------------------------------------------------------------------------------

/** The bytes of a message; fields that are absent or have their default are left out, as proto3 does. */
export function encode(message, value) {
  const out = [];
  for (const field of message.fields) put(out, field, value?.[field.name]);
  return Uint8Array.from(out);
}

function put(out, { number, type, of }, value) {
  if (value === undefined || value === null) return;
  const lengthy = (content) => {
    varint(out, BigInt((number << 3) | LENGTH));
    varint(out, BigInt(content.length));
    out.push(...content);
  };
  const simple = (integer) => {
    if (integer !== 0n) {
      varint(out, BigInt((number << 3) | VARINT));
      varint(out, integer);
    }
  };
  if (typeof type === "object") return lengthy(encode(type, value));
  switch (type) {
    case "string":
      return value === "" ? undefined : lengthy(utf8.encode(value));
    case "bytes":
      return value === "" ? undefined : lengthy(bytes(value));
    case "bool":
      return simple(value ? 1n : 0n);
    case "int64":
    case "uint64":
    case "uint32":
      return simple(BigInt.asUintN(64, BigInt(value)));
    case "double": {
      if (Object.is(Number(value), 0)) return;
      varint(out, BigInt((number << 3) | FIXED64));
      const view = new DataView(new ArrayBuffer(8));
      view.setFloat64(0, Number(value), true);
      return void out.push(...new Uint8Array(view.buffer));
    }
    case "strings":
      return value.forEach((item) => lengthy(utf8.encode(item)));
    case "messages":
      return value.forEach((item) => lengthy(encode(of, item)));
    case "bytes map":
      return Object.entries(value).forEach(([key, content]) => {
        const entry = [];
        put(entry, { number: 1, type: "string" }, key);
        put(entry, { number: 2, type: "bytes" }, content);
        lengthy(entry);
      });
    default:
      throw new TypeError(`no such type: ${type}`);
  }
}

function varint(out, integer) {
  while (integer > 127n) {
    out.push(Number(integer & 127n) | 128);
    integer >>= 7n;
  }
  out.push(Number(integer));
}

// --- reading ---------------------------------------------------------------------------------------------------------

/**
 * The message in some bytes, every field present as in the canonical JSON. Throws on bytes that are no message.
 * `unknown` in the options is called with the number of each field that the table does not have.
 */
export function decode(message, content, options = {}) {
  const value = Object.fromEntries(
    message.fields.filter((field) => typeof field.type === "string").map((field) => [field.name, initial(field.type)]),
  );
  let at = 0;
  const next = () => {
    let integer = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (at >= content.length) throw new RangeError("the message ends inside a number");
      const byte = content[at++];
      integer |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, integer);
    }
    throw new RangeError("a number is too long");
  };
  const take = (length) => {
    if (at + length > content.length) throw new RangeError("the message ends inside a field");
    return content.subarray(at, (at += length));
  };
  while (at < content.length) {
    const key = next();
    const number = Number(key >> 3n),
      wire = Number(key & 7n);
    const raw =
      wire === VARINT
        ? next()
        : wire === FIXED64
          ? take(8)
          : wire === LENGTH
            ? take(Number(next()))
            : wire === FIXED32
              ? take(4)
              : undefined;
    if (raw === undefined || number === 0) throw new RangeError("no such wire type");
    const field = message.fields.find((known) => known.number === number);
    if (field) read(value, field, wire, raw, options);
    else options.unknown?.(number, message);
  }
  return value;
}

const initial = (type) =>
  ({ strings: [], messages: [], "bytes map": {}, bool: false, string: "", bytes: "" })[type] ?? 0;

function read(value, { name, type, of }, wire, raw, options) {
  const expected =
    typeof type === "object" || ["string", "bytes", "strings", "messages", "bytes map"].includes(type)
      ? LENGTH
      : type === "double"
        ? FIXED64
        : VARINT;
  if (wire !== expected) throw new TypeError(`${name} has another type on the wire`);
  if (typeof type === "object") value[name] = { ...value[name], ...decode(type, raw, options) };
  else if (type === "string") value[name] = text.decode(raw);
  else if (type === "bytes") value[name] = base64(raw);
  else if (type === "bool") value[name] = raw !== 0n;
  else if (type === "int64") value[name] = Number(BigInt.asIntN(64, raw));
  else if (type === "double") value[name] = new DataView(raw.buffer, raw.byteOffset, 8).getFloat64(0, true);
  else if (type === "strings") value[name].push(text.decode(raw));
  else if (type === "messages") value[name].push(decode(of, raw, options));
  else if (type === "bytes map") {
    const entry = decode(
      {
        fields: [
          { number: 1, name: "key", type: "string" },
          { number: 2, name: "value", type: "bytes" },
        ],
      },
      raw,
    );
    value[name][entry.key] = entry.value;
  } else value[name] = Number(raw);
}
