// The other end of a process that answers lines of JSON.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";

export type Answer = { [name: string]: unknown };

const script = (name: string): string => fileURLToPath(new URL(`../${name}.js`, import.meta.url));

export function start(name: string): { child: ChildProcess; lines: Interface; say: (line: string) => void } {
  const child = spawn(process.execPath, [script(name)], { stdio: ["pipe", "pipe", "inherit"] });
  return { child, lines: createInterface({ input: child.stdout }), say: (line) => child.stdin.write(`${line}\n`) };
}

export class Peer {
  private readonly process: ReturnType<typeof start>;
  private readonly answers: AsyncIterableIterator<string>;

  constructor(name: string) {
    this.process = start(name);
    this.answers = this.process.lines[Symbol.asyncIterator]();
  }

  /** The answer to one request; the fields of it that the caller names are its business to check. */
  async tell(op: string, fields: object = {}): Promise<Answer> {
    this.process.say(JSON.stringify({ op, ...fields }));
    const { value, done } = await this.answers.next();
    if (done === true) throw new Error("the process ended");
    const answer: Answer = JSON.parse(value);
    if (answer["error"] !== undefined) throw new Error(`${op}: ${String(answer["error"])}`);
    return answer;
  }

  /** Waits for the end of a process that was told to close. */
  async end(): Promise<void> {
    if (this.process.child.exitCode === null) await once(this.process.child, "exit");
  }

  kill(): void {
    this.process.child.kill();
  }
}

/** Runs a test with new processes, which end with it even if it fails: a test process with children does not end. */
export async function withPeers(name: string, count: number, run: (...peers: Peer[]) => Promise<void>): Promise<void> {
  const peers = Array.from({ length: count }, () => new Peer(name));
  try {
    await run(...peers);
  } finally {
    for (const peer of peers) peer.kill();
  }
}
