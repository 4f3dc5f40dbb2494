// A reader of exostate's layout (docs/layout.md), for documents of Yjs.

import type * as Y from "yjs";
import { registersOf } from "./bundles.js";
import { compareIds, compareKeys, escape, fitsInteger, isId, isKey, isReplica, join, unescape } from "./paths.js";
import { defaultJson, I64_MAX, integer, isBytes, type Json, scalarJson } from "./scalars.js";
import { elementId, int, type Key, type Scalar, type Schema, type Variant } from "./schema.js";
import { textJson } from "./texts.js";

export interface Element {
  id: string;
  position: Uint8Array;
}

export interface Node extends Element {
  /** The parent that counts, null at the root: not always the one in the register. */
  parent: string | null;
}

const byPosition = (a: Element, b: Element): number => Buffer.compare(a.position, b.position) || compareIds(a.id, b.id);

/** `<parent's id or nothing>:<position in hexadecimal>`; what cannot be read as a whole is nothing. */
export function readPlace(value: unknown): { parent: string | null; position: Uint8Array } {
  const [, parent = "", position = ""] = (typeof value === "string" && /^([^:]*):((?:[0-9a-f]{2})*)$/i.exec(value)) || [];
  if (parent !== "" && !isId(parent)) return { parent: null, position: new Uint8Array() };
  return { parent: parent === "" ? null : parent, position: Buffer.from(position, "hex") };
}

/** Whether the register of a value fits its type; what is no single register always does. */
function fits(schema: Schema, value: unknown): boolean {
  switch (schema.kind) {
    case "option": return value === null || fits(schema.inner, value);
    case "enum": return typeof value === "string" && Object.hasOwn(schema.variants, value);
    case "bool": case "float": case "string": case "bytes": case "uuid": case "id": case "int": case "uint":
      return scalarJson(schema, value) !== undefined;
    default: return value !== null;
  }
}

/** Puts the smallest node of each cycle of parents at the root. */
function breakCycles(nodes: Map<string, Node>): void {
  const done = new Set<string>();
  for (const start of nodes.values()) {
    const way: Node[] = [];
    let node: Node | undefined = start;
    while (node !== undefined && !done.has(node.id)) {
      done.add(node.id);
      way.push(node);
      node = node.parent === null ? undefined : nodes.get(node.parent);
    }
    // A way that comes back to a node of its own holds a cycle, from that node on.
    const entry = node === undefined ? -1 : way.indexOf(node);
    const cycle = entry === -1 ? [] : way.slice(entry);
    const smallest = cycle.sort((a, b) => compareIds(a.id, b.id))[0];
    if (smallest !== undefined) smallest.parent = null;
  }
}

/** The registers of a document as they are at one moment, found by path. */
export class Reader {
  private readonly registers: Map<string, unknown>;
  /** The segments below each path, whether or not anything that counts stands there. */
  private readonly segments = new Map<string, Set<string>>();

  constructor(private readonly doc: Y.Doc) {
    this.registers = registersOf(doc.getMap("state").entries());
    for (const path of this.registers.keys()) {
      let parent = "";
      for (const segment of path.split("/")) {
        let below = this.segments.get(parent);
        if (below === undefined) this.segments.set(parent, (below = new Set()));
        below.add(segment);
        parent = join(parent, segment);
      }
    }
  }

  /** The value of a register; null is a value, too. */
  get(path: string): unknown {
    return this.registers.has(path) ? (this.registers.get(path) ?? null) : undefined;
  }

  /** The texts of all keys below `path`, in their order; a key whose register is missing is a ghost, left to the caller. */
  private keys(path: string, key: Key): string[] {
    const texts = [...(this.segments.get(path) ?? [])].map(unescape);
    return texts.filter((text): text is string => text !== undefined && isKey(key, text)).sort((a, b) => compareKeys(key, a, b));
  }

  /** Whether the marker of the slot is there, and fits. */
  private isFilled(path: string, inner: Schema): boolean {
    const marker = this.get(path);
    return marker !== undefined && fits(inner, marker);
  }

  /** The keys of the filled slots below `path`. */
  slots(path: string, key: Key, inner: Schema): string[] {
    return this.keys(path, key).filter((text) => this.isFilled(join(path, escape(text)), inner));
  }

  /** The elements of a set: any register counts, whatever its value. */
  members(path: string, key: Key): string[] {
    return this.keys(path, key).filter((text) => this.get(join(path, escape(text))) !== undefined);
  }

  /** The elements of a movable list, in order. */
  elements(path: string, inner: Schema): Element[] {
    const element = (id: string): Element => {
      const position = this.get(`${join(path, id)}/@position`);
      return { id, position: isBytes(position) ? position : new Uint8Array() };
    };
    return this.slots(path, elementId, inner).map(element).sort(byPosition);
  }

  /** The nodes of a tree by the parent that counts, siblings in order. */
  nodes(path: string, inner: Schema): Map<string | null, Node[]> {
    const nodes = new Map<string, Node>();
    for (const id of this.slots(path, elementId, inner)) {
      nodes.set(id, { id, ...readPlace(this.get(`${join(path, id)}/@place`)) });
    }
    for (const node of nodes.values()) if (node.parent !== null && !nodes.has(node.parent)) node.parent = null;
    breakCycles(nodes);
    const families = new Map<string | null, Node[]>();
    for (const node of [...nodes.values()].sort(byPosition)) {
      const family = families.get(node.parent);
      if (family === undefined) families.set(node.parent, [node]);
      else family.push(node);
    }
    return families;
  }

  /** The value at `path`. */
  read(path: string, schema: Schema): Json {
    switch (schema.kind) {
      case "option": {
        const marker = this.get(path);
        return marker === undefined || marker === null || !fits(schema.inner, marker) ? null : this.read(path, schema.inner);
      }
      case "struct": return this.readVariant(path, schema.fields);
      case "enum": {
        const tag = this.get(path);
        const name = typeof tag === "string" && Object.hasOwn(schema.variants, tag) ? tag : schema.default;
        return { [name]: this.readVariant(join(path, name), schema.variants[name] ?? null) };
      }
      // Reading must not make roots, so a sequence is asked for only where it stands.
      case "text": return this.doc.share.has(`T:${path}`) ? textJson(this.doc.getText(`T:${path}`)) : { text: "", marks: [] };
      case "list": return this.doc.share.has(`L:${path}`) ? this.readList(path, schema.inner) : [];
      case "counter": return this.readCounter(path);
      case "map":
        return this.slots(path, schema.key, schema.inner).map((text) => [text, this.read(join(path, escape(text)), schema.inner)]);
      case "set": return this.members(path, schema.key);
      case "movableList":
        return this.elements(path, schema.inner).map(({ id }) => ({ id, value: this.read(join(path, id), schema.inner) }));
      case "tree": return this.readTree(path, schema.inner, this.nodes(path, schema.inner), null);
      case "groups": return this.readGroups(path, schema.group, schema.item);
      default: return scalarJson(schema, this.get(path)) ?? defaultJson(schema);
    }
  }

  private readVariant(path: string, fields: Variant): Json {
    if (fields === null) return null;
    if (Array.isArray(fields)) return fields.map((inner, index) => this.read(join(path, String(index)), inner));
    return Object.fromEntries(Object.entries(fields).map(([name, inner]) => [name, this.read(join(path, name), inner)]));
  }

  /** Elements that do not fit are left out. */
  private readList(path: string, inner: Scalar): Json {
    return this.doc.getArray(`L:${path}`).map((value) => scalarJson(inner, value)).filter((value) => value !== undefined);
  }

  private readCounter(path: string): Json {
    let sum = 0n;
    for (const replica of this.segments.get(path) ?? []) {
      const part = isReplica(replica) ? integer(this.get(join(path, replica))) : undefined;
      if (part !== undefined && fitsInteger(int(), part)) sum += part;
    }
    return (sum > I64_MAX ? I64_MAX : sum < -I64_MAX - 1n ? -I64_MAX - 1n : sum).toString();
  }

  /** Groups with their items, and the items whose group is not there. */
  private readGroups(path: string, group: Schema, item: Schema): Json {
    const [groupsAt, itemsAt] = [join(path, "groups"), join(path, "items")];
    const families = new Map<string, Node[]>();
    const items = this.slots(itemsAt, elementId, item).map((id) => ({ id, ...readPlace(this.get(`${join(itemsAt, id)}/@place`)) }));
    for (const node of items.sort(byPosition)) families.set(node.parent ?? "", [...(families.get(node.parent ?? "") ?? []), node]);
    const take = (of: string): Json[] => {
      const family = families.get(of) ?? [];
      families.delete(of);
      return family.map(({ id }) => ({ id, value: this.read(join(itemsAt, id), item) }));
    };
    const groups = this.elements(groupsAt, group).map(({ id }) => ({ id, value: this.read(join(groupsAt, id), group), items: take(id) }));
    const gone = [...families.keys()].sort((a, b) => (a === "" ? -1 : b === "" ? 1 : compareIds(a, b)));
    return { groups, ungrouped: gone.flatMap(take) };
  }

  private readTree(path: string, inner: Schema, families: Map<string | null, Node[]>, parent: string | null): Json {
    return (families.get(parent) ?? []).map(({ id }) => ({
      id,
      value: this.read(join(path, id), inner),
      children: this.readTree(path, inner, families, id),
    }));
  }
}

/** The state that a document holds. */
export const readState = (doc: Y.Doc, schema: Schema): Json => new Reader(doc).read("", schema);
