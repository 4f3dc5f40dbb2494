// A register's value as JSON, if it is of the kind that the type has.

import { fitsInteger, isId, isUuid } from "./paths.js";
import type { Scalar } from "./schema.js";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

export const I64_MAX = 2n ** 63n - 1n;

export const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array;
export const hex = (value: Uint8Array): string => Buffer.from(value).toString("hex");

/** Yjs hands out integers as numbers or as big integers, as the sender wrote them; only the number counts. */
export function integer(value: unknown): bigint | undefined {
  if (typeof value === "bigint") return value;
  // yrs sends the largest i64 as the float above it.
  if (value === 2 ** 63) return I64_MAX;
  return typeof value === "number" && Number.isInteger(value) ? BigInt(value) : undefined;
}

/** Numbers above i64::MAX stand as a string of their digits. */
function bigDigits(value: unknown): bigint | undefined {
  if (typeof value !== "string" || !/^[1-9][0-9]*$/.test(value)) return undefined;
  const number = BigInt(value);
  return number > I64_MAX ? number : undefined;
}

function floatJson(value: number): Json {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

/** The value of a register, or nothing if it does not fit the type. */
export function scalarJson(type: Scalar, value: unknown): Json | undefined {
  switch (type.kind) {
    case "bool": return typeof value === "boolean" ? value : undefined;
    case "string": return typeof value === "string" ? value : undefined;
    case "uuid": {
      const id = typeof value === "string" ? value.toLowerCase() : "";
      return isUuid(id) ? id : undefined;
    }
    // The last replica is nobody's: ids of elements that are in no document have it.
    case "id": return typeof value === "string" && isId(value) && !value.startsWith("ffffffffffffffff-") ? value : undefined;
    case "bytes": return isBytes(value) ? hex(value) : undefined;
    case "float": return typeof value === "number" || typeof value === "bigint" ? floatJson(Number(value)) : undefined;
    case "int":
    case "uint": {
      const number = integer(value) ?? bigDigits(value);
      return number !== undefined && fitsInteger(type, number) ? number.toString() : undefined;
    }
  }
}

/** What a missing register means. */
export function defaultJson(type: Scalar): Json {
  switch (type.kind) {
    case "bool": return false;
    case "float": return 0;
    case "int":
    case "uint": return "0";
    case "string":
    case "bytes": return "";
    case "id": return "0-0";
    case "uuid": return "00000000-0000-0000-0000-000000000000";
  }
}
