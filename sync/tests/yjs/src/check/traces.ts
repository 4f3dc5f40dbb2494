// Random edits of several documents that hear of each other late, twice and out of order.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Random } from "../random.js";
import { type Peer, withPeers } from "./peer.js";

const REPLICAS = ["a", "b", "c"];
const NOTHING = Buffer.of(0).toString("base64"); // the state vector of an empty document

async function updates(engine: Peer, op: string, fields: object): Promise<string[]> {
  return (await engine.tell(op, fields))["updates"] as string[];
}

async function trace(engine: Peer, seed: number): Promise<{ json: unknown; view: unknown }> {
  const random = new Random(seed);
  const queues = new Map<string, string[]>(REPLICAS.map((doc) => [doc, []]));
  const spread = (from: string, news: string[]) => {
    for (const [doc, queue] of queues) if (doc !== from) queue.push(...news);
  };
  for (const [index, doc] of REPLICAS.entries()) await engine.tell("new", { doc, client: seed * 1000 + index + 1 });

  for (let round = 0; round < 40; round++) {
    const doc = random.of(REPLICAS);
    spread(doc, await updates(engine, "edit", { doc, seed: seed * 100 + round, steps: random.below(6) + 1 }));
    const receiver = random.of(REPLICAS);
    const queue = queues.get(receiver) ?? [];
    for (let count = random.below(queue.length + 1); count > 0; count--) {
      const index = random.below(Math.min(queue.length, 4));
      const [update] = random.below(8) === 0 ? queue.slice(index, index + 1) : queue.splice(index, 1);
      if (update !== undefined) spread(receiver, await updates(engine, "apply", { doc: receiver, update }));
    }
  }
  // Merging may make updates of its own, so the rest is delivered until there is none.
  for (let isQuiet = false; !isQuiet; ) {
    isQuiet = true;
    for (const [doc, queue] of queues) {
      for (const update of queue.splice(0)) {
        isQuiet = false;
        spread(doc, await updates(engine, "apply", { doc, update }));
      }
    }
  }

  const { update } = await engine.tell("diff", { doc: "a", vector: NOTHING });
  await engine.tell("new", { doc: "copy", client: seed * 1000 + 9 });
  await engine.tell("apply", { doc: "copy", update });
  const { json } = await engine.tell("json", { doc: "a" });
  const { view } = await engine.tell("view", { doc: "a" });
  for (const doc of [...REPLICAS, "copy"]) {
    assert.deepEqual((await engine.tell("json", { doc }))["json"], json, `seed ${seed}, document ${doc}`);
    assert.deepEqual((await engine.tell("view", { doc }))["view"], view, `seed ${seed}, document ${doc}`);
    await engine.tell("free", { doc });
  }
  return { json, view };
}

const withEngine = (run: (engine: Peer) => Promise<void>) => () => withPeers("engine", 1, run);

test("documents that got the same updates are equal", withEngine(async (engine) => {
  const seen: unknown[] = [];
  for (let seed = 1; seed <= Number(process.env["TRACES"] ?? 20); seed++) seen.push(await trace(engine, seed));
  // The edits reach what they are for: marks, nested nodes and elements of every collection.
  const text = JSON.stringify(seen);
  for (const part of ['"attributes":', '"children":[{', '"Box":', '"Circle":', '"tags":[{"s"', "board/~0", "board/~3"]) {
    assert.ok(text.includes(part), `no trace has ${part}`);
  }
}));

test("the same seed makes the same edits", withEngine(async (engine) => {
  const results = [];
  for (const doc of ["one", "two"]) {
    await engine.tell("new", { doc, client: 77 });
    results.push(await updates(engine, "edit", { doc, seed: 5, steps: 100 }));
  }
  assert.deepEqual(results[0], results[1]);
}));

test("a request that cannot be answered gets an error, and the next one its answer", withEngine(async (engine) => {
  await assert.rejects(engine.tell("view", { doc: "none" }), /no document/);
  await assert.rejects(engine.tell("toString"), /no operation/);
  await assert.rejects(engine.tell("new", { doc: 5 }), /must be a string/);
  assert.deepEqual(await engine.tell("new", { doc: "x", client: 1 }), { ok: true });
  await assert.rejects(engine.tell("apply", { doc: "x", update: "AQID" }));
  assert.deepEqual(await engine.tell("vector", { doc: "x" }), { vector: NOTHING });
}));
