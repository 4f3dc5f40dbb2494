// Random edits of a document of the state `everything`, each in a transaction of its own.

import type * as Y from "yjs";
import { card, item } from "./everything.js";
import { type Node, Reader, readPlace } from "./layout.js";
import { escape, join } from "./paths.js";
import type { Random } from "./random.js";
import { hex, integer } from "./scalars.js";
import { string } from "./schema.js";
import { type Registers, Writer } from "./writer.js";

const TAGS = ["red", "green", "blau", "🦀", ""];
const MARKS = ["bold", "italic", "color"];

export class Editor {
  private readonly write: Writer;
  private readonly kinds = [
    this.editField, this.editShape, this.editOwner, this.editNotes, this.editNotes, this.editTags, this.editCards, this.editCards,
    this.editBoard, this.editBoard, this.editSeen, this.editVotes, this.editOutline, this.editOutline,
  ];

  constructor(readonly doc: Y.Doc) {
    this.write = new Writer(doc);
  }

  /** Some edits come to nothing, such as a register set to what it was. */
  edit(random: Random, steps: number): void {
    for (let step = 0; step < steps; step++) this.doc.transact(() => random.of(this.kinds).call(this, random));
  }

  private editField(random: Random): void {
    const write = this.write;
    random.of([
      () => write.set("flag", random.bool()),
      () => write.set("count", random.int()),
      () => write.set("big", random.uint()),
      () => write.set("ratio", random.float()),
      () => write.set("title", random.bool() ? random.text() : ""),
      () => write.set("data", random.bytes()),
    ])();
  }

  /** A switch removes what is below, also what belongs to no variant. */
  private editShape(random: Random): void {
    const write = this.write;
    const isBox = write.get("shape") === "Box";
    random.of([
      () => write.replace("shape", { shape: "Nothing" }),
      () => write.replace("shape", { shape: "Circle", "shape/Circle/0": random.float() }),
      () => write.replace("shape", { shape: "Box", "shape/Box/width": random.int(), "shape/Box/label": random.text() }),
      () => isBox && write.set("shape/Box/label", random.text()),
      () => isBox && write.set("shape/Box/width", random.int()),
    ])();
  }

  /** Nothing is a register of null as well as none. */
  private editOwner(random: Random): void {
    random.of([
      () => this.write.replace("owner", { owner: random.uuid() }),
      () => this.write.replace("owner", { owner: null }),
      () => this.write.replace("owner"),
    ])();
  }

  private editNotes(random: Random): void {
    this.editText(random, "notes");
  }

  /** Cuts are made between code points, never within a pair of surrogates. */
  private editText(random: Random, path: string): void {
    const text = this.write.text(path);
    const points = [...text.toString()];
    const unit = (point: number) => points.slice(0, point).join("").length;
    const start = random.below(points.length + 1);
    const end = start + random.below(Math.min(points.length - start, 6) + 1);
    const length = unit(end) - unit(start);
    random.of([
      () => text.insert(unit(start), random.text()),
      () => text.insert(unit(start), random.text()),
      () => length > 0 && text.delete(unit(start), length),
      () => length > 0 && text.format(unit(start), length, { [random.of(MARKS)]: random.of([true, "red", null]) }),
    ])();
  }

  private editTags(random: Random): void {
    const tags = this.write.list("tags");
    random.of([
      () => tags.push([random.of(TAGS)]),
      () => tags.insert(random.below(tags.length + 1), [random.of(TAGS), random.text()]),
      () => tags.length > 0 && tags.delete(random.below(tags.length), 1),
    ])();
  }

  private cardFields(random: Random): Registers {
    return { ...(random.bool() && { text: random.text() }), ...(random.bool() && { done: true }), points: random.of([1, 5n, -(2 ** 40)]) };
  }

  private editCard(random: Random, path: string): void {
    random.of([
      () => this.write.set(`${path}/text`, random.bool() ? random.text() : ""),
      () => this.write.set(`${path}/done`, random.bool()),
      () => this.write.set(`${path}/points`, random.int()),
      () => this.editText(random, `${path}/notes`),
    ])();
  }

  private editCards(random: Random): void {
    const elements = new Reader(this.doc).elements("cards", card);
    const index = random.below(elements.length + 1);
    const chosen = elements[index];
    const place = (siblings: typeof elements) =>
      this.write.position(siblings, random.below(siblings.length + 1), (sibling, position) => {
        const moved = siblings[sibling];
        if (moved !== undefined) this.write.set(`cards/${moved.id}/@position`, position);
      });
    if (chosen === undefined) {
      const id = this.write.newId();
      this.write.fill(`cards/${id}`, { "@position": place(elements), ...this.cardFields(random) });
      return;
    }
    random.of([
      () => this.write.set(`cards/${chosen.id}/@position`, place(elements.filter((element) => element !== chosen))),
      () => this.editCard(random, `cards/${chosen.id}`),
      () => this.editCard(random, `cards/${chosen.id}`),
      () => random.bool() && this.write.replace(`cards/${chosen.id}`),
    ])();
  }

  private editBoard(random: Random): void {
    const path = join("board", escape(random.key()));
    const isThere = new Reader(this.doc).slots("board", string, card).some((key) => join("board", escape(key)) === path);
    if (!isThere) {
      this.write.fill(path, this.cardFields(random));
      return;
    }
    random.of([
      () => this.editCard(random, path),
      () => this.editCard(random, path),
      () => this.write.fill(path, this.cardFields(random)),
      () => this.write.replace(path),
    ])();
  }

  private editSeen(random: Random): void {
    const path = join("seen", escape(random.key()));
    if (this.write.get(path) === undefined) this.write.set(path, true);
    else this.write.replace(path);
  }

  /** A replica counts in its own register only. */
  private editVotes(random: Random): void {
    const path = `votes/${this.write.replica}`;
    this.write.set(path, (integer(this.write.get(path)) ?? 0n) + BigInt(random.below(21) - 10));
  }

  private editOutline(random: Random): void {
    const families = new Reader(this.doc).nodes("outline", item);
    const nodes = [...families.values()].flat();
    const chosen = nodes[random.below(nodes.length + 1)];
    const name = { ...(random.bool() && { name: random.text() }) };
    if (chosen === undefined) {
      const id = this.write.newId();
      this.write.fill(`outline/${id}`, { "@place": this.place(random, families, nodes), ...name });
      return;
    }
    random.of([
      () => this.write.set(`outline/${chosen.id}/@place`, this.place(random, families, nodes, chosen)),
      () => this.write.set(`outline/${chosen.id}/@place`, this.place(random, families, nodes, chosen)),
      () => this.write.set(`outline/${chosen.id}/name`, random.text()),
      () => random.below(3) === 0 && this.write.replace(`outline/${chosen.id}`),
    ])();
  }

  /**
   * A place in the tree that is not below `moved` as far as this replica knows. Another replica may at the same time move that
   * place's parent below `moved`, which makes a cycle.
   */
  private place(random: Random, families: Map<string | null, Node[]>, nodes: Node[], moved?: Node): string {
    const isBelow = (node: Node | undefined): boolean =>
      node !== undefined && (node === moved || isBelow(nodes.find(({ id }) => id === node.parent)));
    const parents = [null, ...nodes.filter((node) => !isBelow(node)).map(({ id }) => id)];
    const parent = parents[random.below(parents.length)] ?? null;
    const siblings = (families.get(parent) ?? []).filter((node) => node !== moved);
    const position = this.write.position(siblings, random.below(siblings.length + 1), (sibling, position) => {
      const path = `outline/${siblings[sibling]?.id}/@place`;
      // A node stands at the root also for want of its parent, or for a cycle: its new position leaves its parent alone.
      this.write.set(path, `${readPlace(this.write.get(path)).parent ?? ""}:${hex(position)}`);
    });
    return `${parent ?? ""}:${hex(position)}`;
  }
}
