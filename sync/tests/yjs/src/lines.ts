// A process that answers requests: one line of JSON in, one line of JSON out.

import { createInterface } from "node:readline";

export class Request {
  constructor(private readonly fields: { [name: string]: unknown }) {}

  string(name: string): string {
    const value = this.fields[name];
    if (typeof value !== "string") throw new TypeError(`"${name}" must be a string`);
    return value;
  }

  integer(name: string, fallback?: number): number {
    const value = this.fields[name] ?? fallback;
    if (typeof value !== "number" || !Number.isSafeInteger(value)) throw new TypeError(`"${name}" must be an integer`);
    return value;
  }

  bytes(name: string): Uint8Array {
    return Buffer.from(this.string(name), "base64");
  }

  object(name: string): { [name: string]: unknown } {
    const value = this.fields[name] ?? {};
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TypeError(`"${name}" must be an object`);
    return { ...value };
  }

  /** Empty where it is missing. */
  list(name: string): unknown[] {
    const value = this.fields[name] ?? [];
    if (!Array.isArray(value)) throw new TypeError(`"${name}" must be a list`);
    return value;
  }

  /** Any value of JSON; it must be there. */
  value(name: string): unknown {
    if (!Object.hasOwn(this.fields, name)) throw new TypeError(`"${name}" is missing`);
    return this.fields[name];
  }
}

export type Operations = { [op: string]: (request: Request) => object | Promise<object> };

async function answer(operations: Operations, line: string): Promise<object> {
  try {
    const fields: unknown = JSON.parse(line);
    if (typeof fields !== "object" || fields === null) throw new TypeError("a request is an object");
    const request = new Request({ ...fields });
    const name = request.string("op");
    const operation = Object.hasOwn(operations, name) ? operations[name] : undefined;
    if (operation === undefined) throw new TypeError(`no operation "${name}"`);
    return await operation(request);
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

/** Answers one request after the other until the input ends, or `isOver` says so. */
export async function serve(operations: Operations, isOver = () => false): Promise<void> {
  // Yjs writes its warnings to the console, which must not come between the answers.
  console.log = console.error;
  for await (const line of createInterface({ input: process.stdin })) {
    const text = JSON.stringify(await answer(operations, line));
    await new Promise((written) => process.stdout.write(`${text}\n`, written));
    if (isOver()) return;
  }
}
