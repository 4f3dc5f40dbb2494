// All that a document holds, whatever its schema: to compare documents of two engines.

import type * as Y from "yjs";
import { hex, isBytes, type Json } from "./scalars.js";
import { compareText } from "./paths.js";
import { runs } from "./texts.js";

/** Numbers as their value, in the form that does not tell whether they came as an integer, a float or a big integer. */
function numberText(value: number): string {
  // yrs sends the largest i64 as the float above it.
  if (value === 2 ** 63) return (2n ** 63n - 1n).toString();
  const isExact = Number.isInteger(value) && value >= -(2 ** 63) && value < 2 ** 63;
  return isExact ? BigInt(value).toString() : String(value);
}

function tagged(value: unknown): Json {
  if (value === null || value === undefined) return null;
  if (typeof value === "boolean") return value;
  if (typeof value === "string") return { s: value };
  if (typeof value === "number") return { n: numberText(value) };
  if (typeof value === "bigint") return { n: value.toString() };
  if (isBytes(value)) return { b: hex(value) };
  throw new TypeError("a register holds what is no scalar");
}

const sorted = (entries: [string, Json][]): Json => Object.fromEntries(entries.sort(([a], [b]) => compareText(a, b)));

/** A text as a delta; its runs are joined, since where Yjs and yrs cut them is no part of the text. */
const delta = (text: Y.Text): Json =>
  runs(text).map(({ insert, attributes }) =>
    attributes.size === 0 ? { insert } : { insert, attributes: Object.fromEntries(attributes) });

export function dump(doc: Y.Doc): Json {
  const registers = [...doc.getMap("state").entries()].map(([path, value]): [string, Json] => [path, tagged(value)]);
  const texts: [string, Json][] = [];
  const lists: [string, Json][] = [];
  // A root that arrived in an update has no type until someone asks for one, so each is asked for by its prefix.
  for (const root of [...doc.share.keys()]) {
    const name = root.slice(2);
    if (root.startsWith("T:") && doc.getText(root).length > 0) texts.push([name, delta(doc.getText(root))]);
    if (root.startsWith("L:") && doc.getArray(root).length > 0) lists.push([name, doc.getArray(root).map(tagged)]);
  }
  return { registers: sorted(registers), texts: sorted(texts), lists: sorted(lists) };
}
