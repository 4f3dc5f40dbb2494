// The Node side of the example `yjs`: edits the page with Yjs alone, through y-websocket's provider as it is.
//
// The names of the shared types are those of `docs/layout.md`: registers in the map `state`, a text at `T:<path>`, a list at `L:<path>`.

import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";

const [url, room] = process.argv.slice(2);
const doc = new Y.Doc();
const [state, notes, tags] = [doc.getMap("state"), doc.getText("T:notes"), doc.getArray("L:tags")];
const provider = new WebsocketProvider(url, room, doc, { WebSocketPolyfill: WebSocket, disableBc: true });
const { awareness } = provider;

/** Waits until something holds, looking again whenever one of these tells of a change. */
const until = (holds, ...emitters) =>
  new Promise((resolve) => {
    const look = () => {
      if (holds()) resolve();
    };
    for (const [emitter, event] of emitters) emitter.on(event, look);
    look();
  });

awareness.setLocalState({ name: "Nina, in Node" });
await until(() => provider.synced, [provider, "sync"]);
console.error(`Node reads: ${state.get("title")}`);
doc.transact(() => {
  state.set("title", "Shopping for Sunday");
  notes.insert(notes.length, "- flour\n");
  tags.push(["kitchen"]);
});

// The Rust side answers, and shows itself.
await until(() => notes.toString().includes("bread"), [doc, "update"]);
const others = () => [...awareness.getStates()].filter(([client]) => client !== doc.clientID).map(([, other]) => other.name);
await until(() => others().length > 0, [awareness, "change"]);
console.error(`Node sees: ${others().join(", ")}`);

// What this side shows in the end, for the other to compare.
console.log(JSON.stringify({ title: state.get("title"), notes: notes.toString(), tags: tags.toArray() }));
provider.destroy();
// It looks every few seconds who has fallen silent, and so keeps the process alive.
awareness.destroy();
