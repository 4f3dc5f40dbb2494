// Paths, their segments, and the ids and keys that stand in segments.

import type { Key } from "./schema.js";

/** The state itself is at the empty path, and what is below it has no slash in front. */
export const join = (path: string, segment: string): string => (path === "" ? segment : `${path}/${segment}`);

export function escape(text: string): string {
  if (text === "") return "~3";
  return text.replace(/~/g, "~0").replace(/\//g, "~1").replace(/^@/, "~2");
}

/** The text of a segment, or nothing if no text is escaped to it (so of `@position` too). */
export function unescape(segment: string): string | undefined {
  const text = segment === "~3" ? "" : segment.replace(/^~2/, "@").replace(/~1/g, "/").replace(/~0/g, "~");
  return escape(text) === segment ? text : undefined;
}

/** The order of UTF-8 bytes, which is the order of code points and not that of JavaScript's UTF-16 units. */
export const compareText = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

const compare = (a: bigint, b: bigint): number => (a < b ? -1 : a > b ? 1 : 0);

const HEX = "(?:0|[1-9a-f][0-9a-f]{0,15})";
const REPLICA = new RegExp(`^${HEX}$`);
const ID = new RegExp(`^(${HEX})-(${HEX})$`);
export const isReplica = (text: string): boolean => REPLICA.test(text);
export const isId = (text: string): boolean => ID.test(text);

/** Replica first, then counter, both as numbers. */
export function compareIds(a: string, b: string): number {
  const [replicaA = "", counterA = ""] = a.split("-");
  const [replicaB = "", counterB = ""] = b.split("-");
  const number = (hex: string) => BigInt(`0x${hex}`);
  return compare(number(replicaA), number(replicaB)) || compare(number(counterA), number(counterB));
}

export const isUuid = (text: string): boolean =>
  /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/.test(text);

export const fitsInteger = (type: { kind: "int" | "uint"; bits: number }, value: bigint): boolean =>
  (type.kind === "int" ? BigInt.asIntN(type.bits, value) : BigInt.asUintN(type.bits, value)) === value;

/** Whether the type writes this text for one of its values; `007` and `+7` are no integers. */
export function isKey(key: Key, text: string): boolean {
  switch (key.kind) {
    case "string": return true;
    case "bool": return text === "true" || text === "false";
    case "uuid": return isUuid(text);
    case "id": return isId(text);
    case "int":
    case "uint": return /^(0|-?[1-9][0-9]*)$/.test(text) && fitsInteger(key, BigInt(text));
  }
}

export function compareKeys(key: Key, a: string, b: string): number {
  if (key.kind === "int" || key.kind === "uint") return compare(BigInt(a), BigInt(b));
  return key.kind === "id" ? compareIds(a, b) : compareText(a, b);
}
