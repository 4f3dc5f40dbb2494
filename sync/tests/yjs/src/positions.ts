// Positions in movable lists and trees: bytes in lexicographic order.

/**
 * A position strictly between two others that ends in two bytes of the writer's replica id, or nothing where there is no room.
 * The bytes before those two already lie strictly between, and neither neighbour starts with them, so the last two cannot change the order.
 */
export function between(low: Uint8Array | undefined, high: Uint8Array | undefined, replica: number): Uint8Array | undefined {
  const position: number[] = [];
  let below = high; // nothing as soon as the bytes so far are less than those of `high`
  for (let index = 0; ; index++) {
    const from = low?.[index] ?? 0;
    if (below !== undefined && index >= below.length) return undefined;
    const to = below?.[index] ?? 256;
    if (from > to) return undefined;
    if (to - from > 1) {
      position.push((from + to) >> 1, (replica >> 8) & 0xff, replica & 0xff);
      return Uint8Array.from(position);
    }
    position.push(from);
    if (from < to) below = undefined;
  }
}

/** New positions for a whole list of `count`, far enough apart for later ones. */
export function evenly(count: number, replica: number): Uint8Array[] {
  const step = 0x1_0000 / (count + 1);
  return Array.from({ length: count }, (_, index) => {
    const place = Math.floor(step * (index + 1));
    return Uint8Array.of(place >> 8, place & 0xff, (replica >> 8) & 0xff, replica & 0xff);
  });
}
