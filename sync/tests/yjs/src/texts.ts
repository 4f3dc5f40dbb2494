// The content of a text: Yjs's deltas made canonical, and marks over code points.

import type * as Y from "yjs";
import { compareText } from "./paths.js";
import { hex, isBytes, type Json } from "./scalars.js";

export interface Run {
  insert: string;
  attributes: Map<string, Json>;
}

/** An attribute's value as JSON, which has no big integers and no bytes. */
function attribute(value: unknown): Json {
  if (typeof value === "bigint") return Number(value);
  if (isBytes(value)) return hex(value);
  if (Array.isArray(value)) return value.map(attribute);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, attribute(inner)]));
  }
  return typeof value === "boolean" || typeof value === "number" || typeof value === "string" ? value : null;
}

const sameValue = (a: Json | undefined, b: Json | undefined): boolean => JSON.stringify(a) === JSON.stringify(b);

const sameAttributes = (a: Run, b: Run): boolean =>
  a.attributes.size === b.attributes.size && [...a.attributes].every(([name, value]) => sameValue(value, b.attributes.get(name)));

/** The text in runs of equal attributes. Yjs cuts runs where formats without effect stand, so equal neighbours are joined. */
export function runs(text: Y.Text): Run[] {
  const joined: Run[] = [];
  for (const part of text.toDelta() as { insert: unknown; attributes?: { [name: string]: unknown } }[]) {
    if (typeof part.insert !== "string") continue; // embedded objects are no part of the layout
    const attributes = Object.entries(part.attributes ?? {}).map(([name, value]) => [name, attribute(value)] as const);
    const run = { insert: part.insert, attributes: new Map(attributes.sort(([a], [b]) => compareText(a, b))) };
    const last = joined.at(-1);
    if (last !== undefined && sameAttributes(last, run)) last.insert += run.insert;
    else joined.push(run);
  }
  return joined;
}

type Mark = [start: number, end: number, name: string, value: Json];

/** The text and its marks; runs of one mark that touch are one, whatever other marks begin or end between them. */
export function textJson(text: Y.Text): Json {
  const marks: Mark[] = [];
  let content = "";
  let end = 0;
  for (const run of runs(text)) {
    const start = end;
    end += [...run.insert].length;
    content += run.insert;
    for (const [name, value] of run.attributes) {
      const before = marks.find((mark) => mark[1] === start && mark[2] === name && sameValue(mark[3], value));
      if (before !== undefined) before[1] = end;
      else marks.push([start, end, name, value]);
    }
  }
  marks.sort((a, b) => compareText(a[2], b[2]) || a[0] - b[0]);
  return { text: content, marks };
}
