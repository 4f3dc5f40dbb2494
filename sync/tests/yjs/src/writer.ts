// Writes to a document as the layout's section "Writing" asks.

import type * as Y from "yjs";
import { contentOf, pathOf, registersOf, voidKey } from "./bundles.js";
import { join } from "./paths.js";
import { between, evenly } from "./positions.js";
import { integer, isBytes } from "./scalars.js";

/** What stands in a register. */
export type Register = null | boolean | number | bigint | string | Uint8Array;

export type Registers = { [path: string]: Register };

/** Whether a register holds this value already; integers are the same in all their forms. */
export function isSame(a: unknown, b: Register): boolean {
  if (isBytes(a) && isBytes(b)) return Buffer.compare(a, b) === 0;
  const number = integer(a);
  return Object.is(a, b) || (number !== undefined && number === integer(b));
}

const isAtOrBelow = (path: string, root: string): boolean => path === root || path.startsWith(`${root}/`);

export class Writer {
  private readonly state: Y.Map<unknown>;
  private nextId = 0;

  constructor(readonly doc: Y.Doc) {
    this.state = doc.getMap("state");
  }

  /** The replica's id in paths. */
  get replica(): string {
    return this.doc.clientID.toString(16);
  }

  /** All registers, also those in bundles. */
  registers(): Map<string, unknown> {
    return registersOf(this.state.entries());
  }

  get(path: string): unknown {
    return this.registers().get(path);
  }

  /** A register that would come out as it was is not written. */
  set(path: string, value: Register): void {
    const registers = this.registers();
    if (!registers.has(path) || !isSame(registers.get(path), value)) this.state.set(path, value);
  }

  /** Removes registers, also those in bundles. */
  remove(paths: Set<string>): void {
    for (const path of paths) this.state.delete(path);
    for (const { key, slot, entries, voids } of contentOf(this.state.entries()).bundles) {
      const gone = [...entries.keys()].filter((below) => paths.has(pathOf(slot, below)));
      if (gone.length === 0) continue;
      if (gone.length < entries.size) for (const below of gone) this.state.set(voidKey(key, below), true);
      else for (const stored of [key, ...voids]) this.state.delete(stored);
    }
  }

  text(path: string): Y.Text {
    return this.doc.getText(`T:${path}`);
  }

  list(path: string): Y.Array<unknown> {
    return this.doc.getArray(`L:${path}`);
  }

  /** An id that never comes again, also after its element is gone. */
  newId(): string {
    return `${this.replica}-${(this.nextId++).toString(16)}`;
  }

  /** Removes all that is at and below `path`, known or not, but for the registers that are given. */
  replace(path: string, wanted: Registers = {}): void {
    const registers = [...this.registers().keys()];
    this.remove(new Set(registers.filter((key) => isAtOrBelow(key, path) && !Object.hasOwn(wanted, key))));
    for (const root of [...this.doc.share.keys()]) {
      if (!isAtOrBelow(root.slice(2), path)) continue;
      if (root.startsWith("T:")) this.text(root.slice(2)).delete(0, this.text(root.slice(2)).length);
      if (root.startsWith("L:")) this.list(root.slice(2)).delete(0, this.list(root.slice(2)).length);
    }
    for (const [key, value] of Object.entries(wanted)) this.set(key, value);
  }

  /** Fills a slot whose type has a marker of its own; `fields` are those that differ from their default. */
  fill(path: string, fields: Registers): void {
    const below = Object.entries(fields).map(([name, value]) => [join(path, name), value]);
    this.replace(path, { [path]: true, ...Object.fromEntries(below) });
  }

  /**
   * A position for what comes at `index` of siblings in order. Where two neighbours leave no room, all of them get new
   * positions by `move`.
   */
  position(siblings: { position: Uint8Array }[], index: number, move: (sibling: number, position: Uint8Array) => void): Uint8Array {
    const room = between(siblings[index - 1]?.position, siblings[index]?.position, this.doc.clientID);
    if (room !== undefined) return room;
    const positions = evenly(siblings.length + 1, this.doc.clientID);
    const [own] = positions.splice(index, 1);
    positions.forEach((position, sibling) => move(sibling, position));
    return own ?? new Uint8Array();
  }
}
