// y-leveldb, used as y-websocket's server uses it: each update of a document is stored. LevelDB does not sync what it writes.
//
// node leveldb.mjs <folder> <board> <changes> <durable> <single> <open board> <open behind> <small changes> <repeats>: tells what was measured.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { LeveldbPersistence } from "y-leveldb";
import * as Y from "yjs";
import { tell } from "./clock.mjs";

const [folder, ...numbers] = process.argv.slice(2);
const [board, changes, durable, single, openBoard, openBehind, smallChanges, repeats] = numbers.map(Number);
const WRITERS = 64;

const key = (at) => at.toString(16).padStart(12, "0");
const median = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];

/** A board of cards. */
const build = (cards) => {
  const doc = new Y.Doc();
  const map = doc.getMap("cards");
  const card = (at) => new Y.Map([["text", "ship the parser"], ["done", false], ["points", at % 1000]]);
  doc.transact(() => {
    for (let at = 0; at < cards; at++) map.set(key(at), card(at));
  });
  return { doc, map, cards };
};

/** Changes one field of one card. */
const edit = ({ map, cards }, at) => {
  const card = map.get(key((at * 7919) % cards));
  if (at % 3 === 0) card.set("text", `write tests for query ${at}`);
  else if (at % 3 === 1) card.set("done", at % 2 === 0);
  else card.set("points", at);
};

/** A board whose updates are stored under a name. `stored` ends when the last update is stored, `bytes` counts all updates. */
const keep = async (database, name, cards) => {
  const kept = build(cards);
  await database.storeUpdate(name, Y.encodeStateAsUpdate(kept.doc));
  const result = { bytes: 0, stored: Promise.resolve(), edit: (at) => edit(kept, at) };
  kept.doc.on("update", (update) => {
    result.bytes += update.length;
    result.stored = database.storeUpdate(name, update);
  });
  return result;
};

/** The median time of a change, in microseconds. The first round warms up. */
const timeChanges = async (database) => {
  const kept = await keep(database, "change", board);
  const times = [];
  for (let at = 0; at < changes * (repeats + 1); at++) {
    const begun = process.hrtime.bigint();
    kept.edit(at);
    if (at >= changes) times.push(Number(process.hrtime.bigint() - begun) / 1e3);
    if (at % 64 === 0) await kept.stored;
  }
  await kept.stored;
  return median(times);
};

/** Changes a second of so many writers, each of which waits until its update is stored. */
const storedPerSecond = async (database, count, writers) => {
  const kept = await keep(database, `durable ${writers}`, board);
  const writer = async (number) => {
    for (let at = number; at < count; at += writers) {
      kept.edit(at);
      await kept.stored;
    }
  };
  const begun = performance.now();
  await Promise.all(Array.from({ length: writers }, (_, number) => writer(number)));
  return count / ((performance.now() - begun) / 1e3);
};

/** The median time to open a board with updates behind its snapshot, in milliseconds. */
const timeOpening = async (database) => {
  const kept = await keep(database, "open", openBoard);
  await database.flushDocument("open");
  for (let at = 0; at < openBehind; at++) kept.edit(at);
  await kept.stored;
  const times = [];
  for (let round = 0; round < repeats; round++) {
    const begun = performance.now();
    const doc = await database.getYDoc("open");
    times.push(performance.now() - begun);
    if (doc.getMap("cards").size !== openBoard) throw new Error("the board is not whole");
  }
  return median(times);
};

/** The bytes that this process has given to the system to write. */
const bytesWritten = () => Number(/^wchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))[1]);

/** The bytes written for small changes, as a multiple of their updates' bytes. */
const amplification = async () => {
  const database = new LeveldbPersistence(join(folder, "small"));
  const kept = await keep(database, "small", board);
  const before = bytesWritten();
  for (let at = 0; at < smallChanges; at++) {
    kept.edit(at);
    if (at % 64 === 0) await kept.stored;
  }
  await kept.stored;
  await database.destroy();
  return (bytesWritten() - before) / kept.bytes;
};

const database = new LeveldbPersistence(join(folder, "board"));
const change = await timeChanges(database);
const durablePerSecond = await storedPerSecond(database, durable, WRITERS);
const singlePerSecond = await storedPerSecond(database, single, 1);
const open = await timeOpening(database);
await database.destroy();
tell({ change, durable: durablePerSecond, single: singlePerSecond, open, amplification: await amplification() });
