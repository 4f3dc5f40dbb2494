// Yjs documents by name, edited, merged and looked at by requests: one side of the random traces.

import * as Y from "yjs";
import { dump } from "./dump.js";
import { Editor } from "./editor.js";
import { everything } from "./everything.js";
import { readState } from "./layout.js";
import { type Request, serve } from "./lines.js";
import { Random } from "./random.js";

const editors = new Map<string, Editor>();

function editorOf(request: Request): Editor {
  const name = request.string("doc");
  const editor = editors.get(name);
  if (editor === undefined) throw new RangeError(`no document "${name}"`);
  return editor;
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

/** The updates that `change` makes, in order. */
function updatesOf(doc: Y.Doc, change: () => void): string[] {
  const updates: string[] = [];
  const collect = (update: Uint8Array, _origin: unknown, _doc: Y.Doc, transaction: Y.Transaction) => {
    if (transaction.local) updates.push(base64(update));
  };
  doc.on("update", collect);
  try {
    change();
  } finally {
    doc.off("update", collect);
  }
  return updates;
}

await serve({
  new: (request) => {
    const name = request.string("doc");
    if (editors.has(name)) throw new RangeError(`there is a document "${name}"`);
    const doc = new Y.Doc();
    doc.clientID = request.integer("client");
    editors.set(name, new Editor(doc));
    return { ok: true };
  },
  // Yjs removes formats that have no effect any more when it merges, and those removals are updates of its own.
  apply: (request) => {
    const { doc } = editorOf(request);
    return { ok: true, updates: updatesOf(doc, () => Y.applyUpdate(doc, request.bytes("update"))) };
  },
  edit: (request) => {
    const editor = editorOf(request);
    const random = new Random(request.integer("seed"));
    return { updates: updatesOf(editor.doc, () => editor.edit(random, request.integer("steps"))) };
  },
  diff: (request) => ({ update: base64(Y.encodeStateAsUpdate(editorOf(request).doc, request.bytes("vector"))) }),
  vector: (request) => ({ vector: base64(Y.encodeStateVector(editorOf(request).doc)) }),
  json: (request) => ({ json: dump(editorOf(request).doc) }),
  view: (request) => ({ view: readState(editorOf(request).doc, everything) }),
  free: (request) => {
    editorOf(request).doc.destroy();
    editors.delete(request.string("doc"));
    return { ok: true };
  },
});
