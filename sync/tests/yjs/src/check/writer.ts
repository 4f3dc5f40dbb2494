import assert from "node:assert/strict";
import { test } from "node:test";
import * as Y from "yjs";
import { card } from "../everything.js";
import { Reader } from "../layout.js";
import { Writer } from "../writer.js";

test("filling a slot again removes what is left below it, known or not, and empties its sequences", () => {
  const doc = new Y.Doc();
  const write = new Writer(doc);
  for (const path of ["board/k/points", "board/k/unknown/deep"]) write.set(path, 5);
  write.set("board/kk", true);
  write.text("board/k/notes").insert(0, "left");
  write.list("board/k/tags").push(["left"]);
  write.fill("board/k", { text: "new" });
  assert.deepEqual(doc.getMap("state").toJSON(), { "board/k": true, "board/k/text": "new", "board/kk": true });
  assert.equal(write.text("board/k/notes").length + write.list("board/k/tags").length, 0);
});

test("a register that comes out as it was makes no update", () => {
  const doc = new Y.Doc();
  const write = new Writer(doc);
  write.fill("board/k", { points: 5, text: "a" });
  doc.on("update", () => assert.fail("an update"));
  doc.transact(() => write.fill("board/k", { points: 5n, text: "a" }));
});

test("where two elements have one position, the next insertion between them gives all of them new ones", () => {
  const doc = new Y.Doc();
  const write = new Writer(doc);
  for (const id of ["1-0", "2-0", "3-0"]) write.fill(`cards/${id}`, { "@position": Uint8Array.of(128) });
  const elements = new Reader(doc).elements("cards", card);
  const position = write.position(elements, 2, (index, moved) => write.set(`cards/${elements[index]?.id}/@position`, moved));
  write.fill("cards/9-0", { "@position": position });
  assert.deepEqual(new Reader(doc).elements("cards", card).map(({ id }) => id), ["1-0", "2-0", "9-0", "3-0"]);
});
