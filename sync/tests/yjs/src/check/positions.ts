import assert from "node:assert/strict";
import { test } from "node:test";
import { between, evenly } from "../positions.js";
import { Random } from "../random.js";

const isLess = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === undefined || b === undefined || Buffer.compare(a, b) < 0;

test("positions lie strictly between their neighbours, at one place as at random ones", () => {
  const random = new Random(1);
  for (const choose of [(count: number) => random.below(count + 1), () => 0, () => 1, (count: number) => count]) {
    const positions: Uint8Array[] = [];
    for (let step = 0; step < 300; step++) {
      const index = Math.min(choose(positions.length), positions.length);
      const replica = random.of([0, 1, 0xffff, 0x1234]);
      const position = between(positions[index - 1], positions[index], replica);
      assert.ok(position !== undefined && isLess(positions[index - 1], position) && isLess(position, positions[index]));
      assert.deepEqual([...position.slice(-2)], [replica >> 8, replica & 0xff]);
      positions.splice(index, 0, position);
    }
  }
});

test("there is no room between equal positions, and new ones for all are in order", () => {
  assert.equal(between(Uint8Array.of(1, 2), Uint8Array.of(1, 2), 7), undefined);
  assert.equal(between(undefined, new Uint8Array(), 7), undefined);
  assert.equal(between(Uint8Array.of(2), Uint8Array.of(1), 7), undefined);
  assert.equal(between(Uint8Array.of(1), Uint8Array.of(1, 0), 7), undefined);
  const positions = evenly(1000, 7);
  for (const [index, position] of positions.entries()) assert.ok(isLess(positions[index - 1], position));
});
