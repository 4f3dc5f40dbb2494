// The state of the tests: every type of the layout once.

import {
  bool, bytes, counter, enum_, float, int, list, map, movableList, option, set, string, struct, text, tree, uint, uuid,
} from "./schema.js";

export const card = struct({ text: string, done: bool, points: int(), notes: text });
export const item = struct({ name: string });

export const everything = struct({
  flag: bool,
  count: int(),
  big: uint(),
  ratio: float,
  title: string,
  data: bytes,
  owner: option(uuid),
  shape: enum_({ Nothing: null, Circle: [float], Box: { width: int(), label: string } }, "Nothing"),
  notes: text,
  tags: list(string),
  cards: movableList(card),
  board: map(string, card),
  seen: set(string),
  votes: counter,
  outline: tree(item),
});
