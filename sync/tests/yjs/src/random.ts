// Random values that are the same for the same seed everywhere.

import type { Register } from "./writer.js";

/** Mulberry32: small, and good enough to choose edits. */
export class Random {
  constructor(private seed: number) {}

  private next(): number {
    this.seed = (this.seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.seed ^ (this.seed >>> 15), this.seed | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return (bits ^ (bits >>> 14)) >>> 0;
  }

  /** A number from 0 to `limit`, without `limit`. */
  below(limit: number): number {
    return this.next() % limit;
  }

  /** One of the choices, of which there must be one. */
  of<T>(choices: readonly T[]): T {
    const choice = choices[this.below(choices.length)];
    if (choice === undefined) throw new RangeError("nothing to choose from");
    return choice;
  }

  bool(): boolean {
    return this.below(2) === 0;
  }

  text(): string {
    return Array.from({ length: this.below(4) + 1 }, () => this.of(PIECES)).join("");
  }

  key(): string {
    return this.of(KEYS);
  }

  bytes(): Uint8Array {
    return Uint8Array.from({ length: this.below(5) }, () => this.below(256));
  }

  uuid(): string {
    const hex = Array.from({ length: 32 }, () => this.below(16).toString(16)).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }

  float(): number {
    return this.of(FLOATS);
  }

  int(): Register {
    return this.integer(this.of(INTS));
  }

  uint(): Register {
    return this.integer(this.of(UINTS));
  }

  /** An integer as a register: in either of the forms of JavaScript where both hold it, in digits above the range of an i64. */
  private integer(value: bigint): Register {
    if (value >= 2n ** 63n) return value.toString();
    return BigInt(Number(value)) === value && this.bool() ? Number(value) : value;
  }
}

const PIECES = ["a", "bc", " ", "é", "e\u0301", "ß", "日本", "\n", "🦀", "👩‍🚀", "𝔸"];
const KEYS = ["a", "b", "a/b", "/", "~", "~1", "~3", "@x", "@position", "x@", "", "ключ", "🦀", "\uffee"];
const FLOATS = [0, -0, 1, -3, 0.5, -1.25, 0.1, 1e300, 5e-324, 2 ** 40, 2 ** 53, 2 ** 63, 2 ** 64, NaN, Infinity, -Infinity];
const SMALL = [0n, 1n, 2n, 7n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n, 2n ** 40n, 2n ** 53n - 1n, 2n ** 53n + 1n];
const INTS = [...SMALL, -1n, -9n, -(2n ** 31n), -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)];
const UINTS = [...SMALL, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
