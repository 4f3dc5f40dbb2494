// The reader, on documents made by hand.

import assert from "node:assert/strict";
import { test } from "node:test";
import { encode } from "cborg";
import * as Y from "yjs";
import { everything } from "../everything.js";
import { Reader, readState } from "../layout.js";
import type { Json } from "../scalars.js";
import * as s from "../schema.js";

function docOf(registers: { [path: string]: unknown }): Y.Doc {
  const doc = new Y.Doc();
  for (const [path, value] of Object.entries(registers)) doc.getMap("state").set(path, value);
  return doc;
}

/** Whether the value at `x` of a document with these registers is the expected one. */
function reads(schema: s.Schema, registers: { [path: string]: unknown }, expected: Json): void {
  assert.deepEqual(readState(docOf(registers), s.struct({ x: schema })), { x: expected });
}

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));
const point = s.struct({ a: s.int(), b: s.string });

test("an empty document holds the defaults, and reading it makes no roots but the registers", () => {
  const doc = new Y.Doc();
  assert.deepEqual(readState(doc, everything), {
    flag: false, count: "0", big: "0", ratio: 0, title: "", data: "", owner: null, shape: { Nothing: null },
    notes: { text: "", marks: [] }, tags: [], cards: [], board: [], seen: [], votes: "0", outline: [],
  });
  assert.deepEqual([...doc.share.keys()], ["state"]);
});

test("integers are read by their number, within the range of their type", () => {
  for (const value of [5, 5n]) reads(s.int(), { x: value }, "5");
  reads(s.int(), { x: 2n ** 63n - 1n }, "9223372036854775807");
  reads(s.int(), { x: 2 ** 63 }, "9223372036854775807");
  reads(s.int(), { x: 2 ** 64 }, "0");
  reads(s.int(), { x: -(2 ** 63) }, "-9223372036854775808");
  reads(s.int(8), { x: 127 }, "127");
  reads(s.int(8), { x: 128 }, "0");
  reads(s.uint(), { x: -1n }, "0");
  reads(s.uint(), { x: "18446744073709551615" }, "18446744073709551615");
  reads(s.uint(), { x: "18446744073709551616" }, "0");
  reads(s.int(), { x: -0 }, "0");
  for (const value of [5.5, NaN, "5", true, null, bytes("05"), [5], { five: 5 }]) reads(s.int(), { x: value }, "0");
});

test("other scalars, and registers of the wrong kind", () => {
  reads(s.float, { x: 5n }, 5);
  reads(s.float, { x: NaN }, "NaN");
  reads(s.float, { x: Infinity }, "inf");
  reads(s.float, { x: -Infinity }, "-inf");
  reads(s.float, { x: "1" }, 0);
  reads(s.bool, { x: 1 }, false);
  reads(s.string, { x: 1 }, "");
  reads(s.bytes, { x: bytes("00ff") }, "00ff");
  reads(s.bytes, { x: "00ff" }, "");
  const id = "0123abcd-0000-4000-8000-00000000000f";
  reads(s.uuid, { x: id }, id);
  reads(s.uuid, { x: "nobody" }, "00000000-0000-0000-0000-000000000000");
  reads(s.elementId, { x: "3f-1" }, "3f-1");
  for (const wrong of ["03f-1", "3F-1", "ffffffffffffffff-0", 5]) reads(s.elementId, { x: wrong }, "0-0");
  const doc = docOf({});
  doc.getMap("state").set("x", new Y.Map());
  assert.deepEqual(readState(doc, s.struct({ x: s.int() })), { x: "0" });
});

test("options: nothing, null, and a slot", () => {
  reads(s.option(s.int()), {}, null);
  reads(s.option(s.int()), { x: null }, null);
  reads(s.option(s.int()), { x: 1 }, "1");
  reads(s.option(point), { "x/a": 1 }, null);
  reads(s.option(point), { x: true, "x/a": 1 }, { a: "1", b: "" });
  reads(s.option(s.set(s.string)), { x: true, "x/k": true }, ["k"]);
  reads(s.map(s.string, s.option(s.int())), { "x/a": null, "x/b": 1 }, [["a", null], ["b", "1"]]);
});

test("enums: each form, the default, and fields of other variants", () => {
  const shape = s.enum_({ Nothing: null, Pair: [s.int(), s.string], Point: { a: s.int() } }, "Nothing");
  reads(shape, {}, { Nothing: null });
  reads(shape, { x: "Pair", "x/Pair/0": 1, "x/Pair/1": "one", "x/Point/a": 9 }, { Pair: ["1", "one"] });
  reads(shape, { x: "Point", "x/Point/a": 9 }, { Point: { a: "9" } });
  for (const tag of ["Sphere", "toString", 5, true]) reads(shape, { x: tag }, { Nothing: null });
  reads(s.map(s.string, shape), { "x/a": "Point", "x/b/Point/a": 1 }, [["a", { Point: { a: "0" } }]]);
});

test("fields below a slot that is not filled do not exist", () => {
  reads(s.map(s.string, point), { "x/ghost/a": 1, "x/void": null, "x/void/a": 1, "x/k": true, "x/k/b": "b" }, [["k", { a: "0", b: "b" }]]);
  reads(s.movableList(point), { "x/1-0/a": 1, "x/1-0/@position": bytes("80") }, []);
  reads(s.tree(point), { "x/1-0/@place": ":80", "x/2-0": true, "x/2-0/@place": "1-0:80" },
    [{ id: "2-0", value: { a: "0", b: "" }, children: [] }]);
  reads(s.map(s.string, s.map(s.string, s.int())), { "x/a/b": 1, "x/c": true, "x/c/d": 1 }, [["c", [["d", "1"]]]]);
  reads(s.map(s.string, s.int()), { "x/a": null, "x/b": 0 }, [["b", "0"]]);
  const doc = docOf({ "x/k": true });
  doc.getText("T:x/k").insert(0, "here");
  doc.getText("T:x/ghost").insert(0, "gone");
  assert.deepEqual(readState(doc, s.struct({ x: s.map(s.string, s.text) })), { x: [["k", { text: "here", marks: [] }]] });
});

test("keys are escaped, and sorted as UTF-8", () => {
  const registers = { "x/a~1b": 1, "x/~0": 2, "x/~2x": 3, "x/~3": 4, "x/x@": 5, "x/🦀": 6, "x/\uffee": 7, "x/~01": 8, "x/~03": 9 };
  const expected = [
    ["", "4"], ["@x", "3"], ["a/b", "1"], ["x@", "5"], ["~", "2"], ["~1", "8"], ["~3", "9"], ["\uffee", "7"], ["🦀", "6"],
  ];
  reads(s.map(s.string, s.int()), registers, expected);
  reads(s.set(s.string), registers, expected.map(([key = ""]) => key));
  reads(s.set(s.string), { "x/": 1, "x/@own": 1, "x/~": 1, "x/~4": 1, "x/a~2": 1, "x/a~3": 1, "x//y": 1, "x/y/z": 1, x: 1 }, []);
});

test("keys of other types stand as the type writes them, and in its order", () => {
  reads(s.set(s.int()), { "x/10": 1, "x/9": 1, "x/-10": 1, "x/0": 1, "x/007": 1, "x/+7": 1, "x/-0": 1, "x/1.0": 1, "x/~3": 1 },
    ["-10", "0", "9", "10"]);
  reads(s.set(s.uint(8)), { "x/255": null, "x/256": 1, "x/-1": 1 }, ["255"]);
  reads(s.set(s.bool), { "x/true": 1, "x/false": 1, "x/True": 1 }, ["false", "true"]);
  reads(s.set(s.elementId), { "x/a-0": 1, "x/9-10": 1, "x/9-9": 1, "x/A-0": 1, "x/0a-0": 1, "x/a": 1 }, ["9-9", "9-10", "a-0"]);
  const id = "0123abcd-0000-4000-8000-00000000000f";
  reads(s.set(s.uuid), { [`x/${id}`]: 1, [`x/${id.toUpperCase()}`]: 1 }, [id]);
});

test("counters are the sum of their replicas", () => {
  reads(s.counter, { "x/1": 5, "x/ff": -7n, "x/A": 100, "x/01": 100, "x/g": 100, "x/2": "100", "x/3": 0.5, x: 100 }, "-2");
});

test("movable lists are in the order of positions, then of ids as numbers", () => {
  const registers: { [path: string]: unknown } = {};
  const positions = { "9-a": "80", "10-1": "80", "9-9": "80", "1-0": "8000", "2-0": "7fff", "3-0": undefined, "4-0": "text" };
  for (const [id, position] of Object.entries(positions)) {
    registers[`x/${id}`] = 1;
    registers[`x/${id}/@position`] = position === undefined || position === "text" ? position : bytes(position);
  }
  const order = new Reader(docOf(registers)).elements("x", s.int()).map(({ id }) => id);
  assert.deepEqual(order, ["3-0", "4-0", "2-0", "9-9", "9-a", "10-1", "1-0"]);
});

/** The tree as text: `id(children)`. */
function shape(registers: { [path: string]: unknown }): string {
  const families = new Reader(docOf(registers)).nodes("x", s.int());
  const draw = (parent: string | null): string =>
    (families.get(parent) ?? []).map(({ id }) => id + (families.has(id) ? `(${draw(id)})` : "")).join(" ");
  return draw(null);
}

function places(nodes: { [id: string]: unknown }): { [path: string]: unknown } {
  return Object.fromEntries(Object.entries(nodes).flatMap(([id, place]) => [[`x/${id}`, 1], [`x/${id}/@place`, place]]));
}

test("trees: siblings in order, lost parents, unreadable places", () => {
  assert.equal(shape(places({ "1-0": ":80", "1-1": "1-0:80", "1-2": "1-0:7f", "1-3": ":40", "1-4": "1-2:" })), "1-3 1-0(1-2(1-4) 1-1)");
  assert.equal(shape(places({ "1-0": ":80", "1-1": "7-7:90", "1-2": "1-1:80" })), "1-0 1-1(1-2)");
  assert.equal(shape(places({ "1-0": ":80", "1-1": 5, "1-2": "", "1-3": "1-0", "1-4": "1-0:8", "1-5": "1-0:zz" })),
    "1-1 1-2 1-3 1-4 1-5 1-0");
  assert.equal(shape(places({ "1-0": ":80", "1-1": "1-0:AB", "1-2": "1-0:0f", "1-3": "01-0:80" })), "1-3 1-0(1-2 1-1)");
});

test("trees: of each cycle the smallest id stands at the root, ids as numbers", () => {
  assert.equal(shape(places({ "1-0": "1-0:80" })), "1-0");
  assert.equal(shape(places({ "a-0": "9-0:80", "9-0": "10-0:80", "10-0": "a-0:80", "1-0": "a-0:80" })), "9-0(a-0(1-0 10-0))");
  assert.equal(shape(places({ "1-0": "1-1:80", "1-1": "1-0:80", "2-0": "2-1:70", "2-1": "2-0:70", "3-0": "2-1:10" })),
    "2-0(2-1(3-0)) 1-0(1-1)");
});

test("groups: items in the group that their place names, and ungrouped ones", () => {
  const item = (id: string): Json => ({ id, value: "1" });
  const registers = {
    "x/groups/1-0": "b", "x/groups/1-0/@position": bytes("90"), "x/groups/1-1": "a", "x/groups/1-1/@position": bytes("80"),
    "x/groups/9-9/@position": bytes("80"),
    "x/items/2-0": 1, "x/items/2-0/@place": "1-0:80", "x/items/2-1": 1, "x/items/2-1/@place": "1-0:7f",
    "x/items/2-2": 1, "x/items/2-2/@place": "9-9:80", "x/items/2-3": 1, "x/items/2-3/@place": "here", "x/items/2-4": 1,
    "x/items/2-5": 1, "x/items/2-5/@place": "9-8:90", "x/items/2-6/@place": "1-0:80",
  };
  reads(s.groups(s.string, s.int()), registers, {
    groups: [{ id: "1-1", value: "a", items: [] }, { id: "1-0", value: "b", items: [item("2-1"), item("2-0")] }],
    ungrouped: [item("2-3"), item("2-4"), item("2-5"), item("2-2")],
  });
  reads(s.groups(s.string, s.int()), {}, { groups: [], ungrouped: [] });
});

test("slots and options leave out what does not fit", () => {
  const wrong = { "x/a": "a", "x/b": null, "x/c": 3 };
  reads(s.map(s.string, s.int()), wrong, [["c", "3"]]);
  reads(s.map(s.string, s.option(s.int())), wrong, [["b", null], ["c", "3"]]);
  reads(s.map(s.string, s.enum_({ a: null, d: null }, "d")), wrong, [["a", { a: null }]]);
  reads(s.map(s.string, s.struct({})), wrong, [["a", {}], ["c", {}]]);
  reads(s.option(s.int()), { x: "a" }, null);
  reads(s.option(s.enum_({ a: null }, "a")), { x: "b" }, null);
});

test("a counter ends where 64 bits do", () => {
  reads(s.counter, { "x/1": 2n ** 63n - 1n, "x/2": 5, "x/3": "7", "x/0a": 100, "x/z": 100 }, "9223372036854775807");
  reads(s.counter, { "x/1": 2n ** 63n - 1n, "x/2": 5, "x/4": -10 }, "9223372036854775802");
});

test("lists of scalars leave out elements that do not fit", () => {
  const doc = docOf({});
  doc.getArray("L:x").push(["a", 5, "b"]);
  assert.deepEqual(readState(doc, s.struct({ x: s.list(s.string) })), { x: ["a", "b"] });
});

test("texts and marks are over code points, and found though nobody declared them", () => {
  const doc = docOf({});
  const text = doc.getText("T:x");
  text.insert(0, "a🦀bc🦀d");
  text.format(1, 2, { bold: true });
  text.format(3, 4, { bold: true, color: "red" });
  text.format(0, 1, { color: "blue" });
  const copy = new Y.Doc();
  Y.applyUpdate(copy, Y.encodeStateAsUpdate(doc));
  for (const each of [doc, copy]) {
    assert.deepEqual(readState(each, s.struct({ x: s.text })), {
      x: { text: "a🦀bc🦀d", marks: [[1, 5, "bold", true], [0, 1, "color", "blue"], [2, 5, "color", "red"]] },
    });
  }
});

test("the state may be any type, at the empty path", () => {
  assert.deepEqual(readState(docOf({ a: 1, "b/c": 2 }), s.map(s.string, s.int())), [["a", "1"]]);
  const doc = new Y.Doc();
  doc.getText("T:").insert(0, "text");
  assert.deepEqual(readState(doc, s.text), { text: "text", marks: [] });
});

test("bundles: their entries are registers, and a register of its own counts before them", () => {
  const all = s.map(s.string, point);
  const bundle = (entries: [string, unknown][]): Uint8Array => encode(new Map(entries), { mapSorter: () => 0 });
  const one = bundle([["", true], ["a", 1], ["b", "x"]]);
  reads(all, { "x/k/@1-0": one }, [["k", { a: "1", b: "x" }]]);
  reads(all, { "x/k/@1-0": one, "x/k/a": 2 }, [["k", { a: "2", b: "x" }]]);
  reads(all, { "x/k/@1-0": one, "x/k/@1-0/a": true }, [["k", { a: "0", b: "x" }]]);
  reads(all, { "x/k/@1-0": one, "x/k/@1-0/@": true }, []);
  reads(all, { "x/k/@1-0": one, "x/k/@2-0": bundle([["", true], ["a", 5]]) }, [["k", { a: "5", b: "x" }]]);
  reads(all, { "x/k/@1-0": one, "x/k/@2-0": bundle([["a", 5]]), "x/k/@2-0/a": true }, [["k", { a: "1", b: "x" }]]);
  for (const wrong of [bundle([["b", "x"], ["", true]]), bundle([["", true], ["a", []]]), bundle([["", true], ["@", 1]]), bytes("a0ff"), bytes(""), bytes("a201f502f5")]) {
    reads(all, { "x/k/@1-0": wrong }, []);
  }
});
