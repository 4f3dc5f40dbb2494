// An unmodified WebsocketProvider of y-websocket, driven by requests.

import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { dump } from "./dump.js";
import { Editor } from "./editor.js";
import { everything } from "./everything.js";
import { readState } from "./layout.js";
import { type Request, serve } from "./lines.js";
import { Random } from "./random.js";
import { isSame } from "./writer.js";

interface Connection {
  doc: Y.Doc;
  editor: Editor;
  provider: WebsocketProvider;
  /** How its connections were closed by the other side. */
  closes: { code: number; reason: string }[];
}

const OK = { ok: true };
let connection: Connection | undefined;
let isClosed = false;

function connected(): Connection {
  if (connection === undefined) throw new Error("not connected");
  return connection;
}

/** Waits for a condition that no single event announces. */
async function until(what: string, request: Request, condition: () => boolean): Promise<typeof OK> {
  const end = Date.now() + request.integer("timeout_ms");
  while (!condition()) {
    if (Date.now() > end) throw new Error(`timed out: ${what}`);
    await sleep(2);
  }
  return OK;
}

function connect(request: Request): typeof OK {
  if (connection !== undefined) throw new Error("already connected");
  const doc = new Y.Doc();
  doc.clientID = request.integer("client", doc.clientID);
  const params = Object.fromEntries(Object.entries(request.object("params")).map(([name, value]) => [name, String(value)]));
  const provider = new WebsocketProvider(request.string("url"), request.string("room"), doc, {
    params,
    protocols: request.list("protocols").map(String),
    WebSocketPolyfill: WebSocket as unknown as typeof globalThis.WebSocket,
    disableBc: true,
  });
  const closes: Connection["closes"] = [];
  provider.on("connection-close", (event) => {
    if (event !== null) closes.push({ code: event.code, reason: event.reason });
  });
  connection = { doc, editor: new Editor(doc), provider, closes };
  return OK;
}

/** A value for a register or a list, as JSON has it. */
function scalar(request: Request): string | number | boolean | null {
  const value = request.value("value");
  if (value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  throw new TypeError('"value" must be a scalar');
}

/** The states of the others. */
function others({ provider }: Connection): { [client: string]: unknown } {
  const states = [...provider.awareness.getStates()].filter(([client]) => client !== provider.doc.clientID);
  return Object.fromEntries(states.map(([client, state]) => [String(client), state]));
}

/** The last messages must be out, and the socket closed, before the process may end. */
async function close(): Promise<typeof OK> {
  isClosed = true;
  if (connection === undefined) return OK;
  const { doc, provider } = connection;
  const socket = provider.ws;
  const closed = new Promise<void>((resolve) => {
    if (socket === null) resolve();
    else socket.addEventListener("close", () => resolve());
  });
  provider.destroy();
  doc.destroy();
  await Promise.race([closed, sleep(1000)]);
  return OK;
}

await serve(
  {
    connect,
    disconnect: () => {
      connected().provider.disconnect();
      return OK;
    },
    reconnect: () => {
      connected().provider.connect();
      return OK;
    },
    synced: (request) => until("synced", request, () => connected().provider.synced),
    edit: (request) => {
      connected().editor.edit(new Random(request.integer("seed")), request.integer("steps"));
      return OK;
    },
    text: (request) => {
      connected().doc.getText(request.string("name")).insert(request.integer("index"), request.string("insert"));
      return OK;
    },
    delete: (request) => {
      connected().doc.getText(request.string("name")).delete(request.integer("index"), request.integer("length"));
      return OK;
    },
    mark: (request) => {
      const text = connected().doc.getText(request.string("name"));
      text.format(request.integer("index"), request.integer("length"), { [request.string("mark")]: true });
      return OK;
    },
    /** Text of this length in many small edits. */
    type: (request) => {
      const text = connected().doc.getText(request.string("name"));
      const part = "0123456789".repeat(100);
      for (let left = request.integer("length"); left > 0; left -= part.length) text.insert(left % 2 === 0 ? 0 : text.length, part.slice(0, left));
      return OK;
    },
    closes: () => ({ closes: connected().closes, connects: connected().provider.shouldConnect }),
    wait_closed: (request) => until("a close", request, () => connected().closes.length >= request.integer("count")),
    set: (request) => {
      connected().doc.getMap("state").set(request.string("key"), scalar(request));
      return OK;
    },
    push: (request) => {
      connected().doc.getArray(request.string("name")).push([scalar(request)]);
      return OK;
    },
    json: () => ({ json: dump(connected().doc) }),
    view: () => ({ view: readState(connected().doc, everything) }),
    wait: (request) => {
      const text = connected().doc.getText(request.string("text"));
      const part = request.string("contains");
      return until(`text with ${JSON.stringify(part)}`, request, () => text.toString().includes(part));
    },
    wait_register: (request) => {
      const state = connected().doc.getMap("state");
      const key = request.string("key");
      const value = scalar(request);
      return until(`register ${JSON.stringify(key)}`, request, () => state.has(key) && isSame(state.get(key), value));
    },
    awareness_set: (request) => {
      connected().provider.awareness.setLocalState(request.object("state"));
      return OK;
    },
    awareness: () => ({ clients: others(connected()) }),
    wait_awareness: (request) => {
      const count = request.integer("count");
      return until(`awareness of ${count}`, request, () => Object.keys(others(connected())).length === count);
    },
    close,
  },
  () => isClosed,
);
// A provider has timers of its own that would keep the process.
process.exit();
