// y-websocket's server as it is, on a free port; its documents are watched from within.
//
// node server.mjs <documents> <last>: tells the port, then when each edit of the first document was seen (if there is one alone), and when the
// last edit of the last document was.

import { getYDoc, setupWSConnection } from "@y/websocket-server/utils";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { micros, tell } from "./clock.mjs";

const [documents, last] = process.argv.slice(2).map(Number);
let left = documents;
const seen = [];
for (let number = 0; number < documents; number++) {
  const state = getYDoc(`page${number}`).getMap("state");
  const watch = () => {
    const edit = state.get("number");
    if (documents === 1) seen.push([edit, micros()]);
    if (edit !== last) return;
    state.unobserve(watch);
    left -= 1;
    if (left === 0) tell({ done: micros(), seen: documents === 1 ? seen : [] });
  };
  state.observe(watch);
}

const server = createServer();
const sockets = new WebSocketServer({ server });
sockets.on("connection", setupWSConnection);
server.listen(0, "127.0.0.1", () => tell({ port: server.address().port }));
