// The registers of a document with bundles (docs/layout.md, "Bundles").

import { decode } from "cborg";
import { isId, join, unescape } from "./paths.js";
import { isBytes } from "./scalars.js";

const BYTES_MAX = 4096;
const ENTRIES_MAX = 64;
const SLOT_BYTES_MAX = 512;
const PATH_BYTES_MAX = 2048;
const PATHS_BYTES_MAX = 8192;

export interface Bundle {
  key: string;
  slot: string;
  /** The last segment of the key. */
  name: string;
  /** The entries that are not void, by relative path. */
  entries: Map<string, unknown>;
  /** The keys of its void registers. */
  voids: string[];
}

export interface Content {
  /** The registers that are stored under their own path. */
  own: Map<string, unknown>;
  /** The bundles. An earlier one counts before a later one. */
  bundles: Bundle[];
}

const isName = (segment: string): boolean => segment.startsWith("@") && isId(segment.slice(1));

/** The order of paths: byte by byte, where `/` comes before every other byte. */
function comparePaths(a: string, b: string): number {
  const bytes = (path: string) => Buffer.from(path).map((byte) => (byte === 0x2f ? 0 : byte < 0x2f ? byte + 1 : byte));
  return Buffer.compare(bytes(a), bytes(b));
}

const isScalar = (value: unknown): boolean =>
  value === null || ["boolean", "number", "string"].includes(typeof value) || isBytes(value) || (typeof value === "bigint" && BigInt.asIntN(64, value) === value);

/** Whether a path may be that of an entry. */
const isBelow = (path: string): boolean =>
  path === "" ||
  path.split("/").every((segment) => (segment.startsWith("@") ? segment !== "@" && !isName(segment) : unescape(segment) !== undefined));

/** The path of an entry. */
export const pathOf = (slot: string, below: string): string => (below === "" ? slot : join(slot, below));

/** The entries of a bundle. None if the value is not a valid bundle. */
function entriesOf(slot: string, value: unknown): Map<string, unknown> {
  const none = new Map<string, unknown>();
  if (!isBytes(value) || value.length > BYTES_MAX || Buffer.byteLength(slot) > SLOT_BYTES_MAX) return none;
  let entries: unknown;
  try {
    entries = decode(value, { useMaps: true, allowIndefinite: false, allowUndefined: false, rejectDuplicateMapKeys: true });
  } catch {
    return none;
  }
  if (!(entries instanceof Map) || entries.size > ENTRIES_MAX) return none;
  const fits = ([path, scalar]: [unknown, unknown]) => typeof path === "string" && isBelow(path) && isScalar(scalar);
  if (![...entries].every(fits)) return none;
  const paths: string[] = [...entries.keys()];
  const isOrdered = paths.every((path, at) => at === 0 || comparePaths(paths[at - 1] ?? "", path) < 0);
  const lengths = paths.map((path) => Buffer.byteLength(pathOf(slot, path)));
  const isShort = lengths.every((length) => length <= PATH_BYTES_MAX) && lengths.reduce((a, b) => a + b, 0) <= PATHS_BYTES_MAX;
  return isOrdered && isShort ? entries : none;
}

/** The key of the void register of an entry. */
export const voidKey = (bundle: string, below: string): string => join(bundle, below === "" ? "@" : below);

/** Separates the stored keys into registers and bundles. */
export function contentOf(stored: Iterable<[string, unknown]>): Content {
  const own = new Map<string, unknown>();
  const bundles = new Map<string, Bundle>();
  const voids: [string, string, string][] = [];
  for (const [key, value] of stored) {
    const segments = key.split("/");
    const at = key.startsWith("@") ? -1 : segments.findIndex((segment, index) => index > 0 && isName(segment) && (index > 1 || segments[0] !== ""));
    const bundle = segments.slice(0, at + 1).join("/");
    if (at === -1) own.set(key, value);
    else if (at === segments.length - 1) {
      const slot = segments.slice(0, at).join("/");
      bundles.set(key, { key, slot, name: segments[at] ?? "", entries: new Map(entriesOf(slot, value)), voids: [] });
    } else {
      const below = segments.slice(at + 1).join("/");
      voids.push([key, bundle, below === "@" ? "" : below]);
    }
  }
  for (const [key, bundle, below] of voids) {
    bundles.get(bundle)?.entries.delete(below);
    bundles.get(bundle)?.voids.push(key);
  }
  return { own, bundles: [...bundles.values()].sort((a, b) => Buffer.compare(Buffer.from(b.name), Buffer.from(a.name)) || b.slot.length - a.slot.length) };
}

/** All registers by path. */
export function registersOf(stored: Iterable<[string, unknown]>): Map<string, unknown> {
  const { own, bundles } = contentOf(stored);
  for (const { slot, entries } of bundles) {
    for (const [below, value] of entries) {
      const path = pathOf(slot, below);
      if (!own.has(path)) own.set(path, value);
    }
  }
  return own;
}
