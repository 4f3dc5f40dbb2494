// Two providers of y-websocket and the server for benchmarks.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { type Peer, start, withPeers } from "./peer.js";

const PATIENCE = { timeout_ms: 10_000 };

/** A test with two providers in a room of a server of their own. */
const inRoom = (run: (one: Peer, two: Peer) => Promise<void>) => async () => {
  const server = start("server");
  try {
    const [port] = await once(server.lines, "line");
    await withPeers("provider", 2, async (...peers) => {
      for (const [index, peer] of peers.entries()) {
        const room = { url: `ws://127.0.0.1:${String(port)}`, room: "room", params: { token: "a b" } };
        await peer.tell("connect", { ...room, client: index + 1 });
        await peer.tell("synced", PATIENCE);
      }
      const [one, two] = peers;
      assert.ok(one !== undefined && two !== undefined);
      await run(one, two);
    });
  } finally {
    server.child.kill();
  }
};

test("two providers see each other's texts, registers, lists and awareness",
  inRoom(async (one, two) => {
    await one.tell("text", { name: "T:notes", index: 0, insert: "a 🦀" });
    await two.tell("wait", { text: "T:notes", contains: "🦀", ...PATIENCE });
    await two.tell("push", { name: "L:tags", value: "red" });
    await two.tell("set", { key: "title", value: "hello" });
    await one.tell("wait_register", { key: "title", value: "hello", ...PATIENCE });
    const state = { registers: { title: { s: "hello" } }, texts: { notes: [{ insert: "a 🦀" }] }, lists: { tags: [{ s: "red" }] } };
    for (const peer of [one, two]) assert.deepEqual((await peer.tell("json"))["json"], state);

    await one.tell("awareness_set", { state: { cursor: 3 } });
    await two.tell("awareness_set", { state: { cursor: 5 } });
    await one.tell("wait_awareness", { count: 1, ...PATIENCE });
    await two.tell("wait_awareness", { count: 1, ...PATIENCE });
    // A provider says `{}` of itself before anyone sets a state, so what is waited for is the register set after it.
    await two.tell("set", { key: "count", value: 1 });
    await one.tell("wait_register", { key: "count", value: 1, ...PATIENCE });
    assert.deepEqual(await one.tell("awareness"), { clients: { 2: { cursor: 5 } } });
    await two.tell("close");
    await two.end();
    await one.tell("wait_awareness", { count: 0, ...PATIENCE });
  }));

test("edits made while a provider is away arrive when it is back",
  inRoom(async (one, two) => {
    await two.tell("disconnect");
    await one.tell("edit", { seed: 1, steps: 80 });
    await two.tell("edit", { seed: 2, steps: 80 });
    await assert.rejects(two.tell("synced", { timeout_ms: 50 }), /timed out/);
    await two.tell("reconnect");
    await two.tell("synced", PATIENCE);
    await one.tell("set", { key: "done", value: "one" });
    await two.tell("wait_register", { key: "done", value: "one", ...PATIENCE });
    await two.tell("set", { key: "done", value: "two" });
    await one.tell("wait_register", { key: "done", value: "two", ...PATIENCE });
    // Formats that merging leaves without effect are removed in updates that may still be on their way; `json` has no trace of them.
    assert.deepEqual((await one.tell("json"))["json"], (await two.tell("json"))["json"]);
    assert.deepEqual((await one.tell("view"))["view"], (await two.tell("view"))["view"]);
  }));
