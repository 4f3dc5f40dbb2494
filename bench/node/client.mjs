// Clients of a y-websocket server, each with the provider as it is.
//
// node client.mjs throughput <url> <documents> <edits of each>   edits all in turn as fast as it goes; tells when it began
// node client.mjs latency <url> <edits a second> <edits>         edits at a steady rate; tells when each was made
// node client.mjs presence <url> <participants> <seconds>        each shows something new 20 times a second; tells how many changes all were told of

import WebSocket from "ws";
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import { micros, tell } from "./clock.mjs";

/** States that each participant shows in a second. */
const RATE = 20;
/** Edits between two looks at the network: fewer or more are no faster. */
const CHUNK = 500;

const turn = () => new Promise((resolve) => setImmediate(resolve));
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function join(url, room) {
  const provider = new WebsocketProvider(url, room, new Y.Doc(), { WebSocketPolyfill: WebSocket, disableBc: true });
  if (!provider.synced) await new Promise((resolve) => provider.once("sync", resolve));
  return provider;
}

async function throughput(url, documents, edits) {
  const states = [];
  for (let number = 0; number < documents; number++) states.push((await join(url, `page${number}`)).doc.getMap("state"));
  tell({ begun: [micros()] });
  let count = 0;
  for (let edit = 1; edit <= edits; edit++) {
    for (const state of states) {
      state.set("number", edit);
      if (++count % CHUNK === 0) await turn();
    }
  }
}

async function latency(url, rate, edits) {
  const state = (await join(url, "page0")).doc.getMap("state");
  const [begun, start] = [[], micros()];
  for (let edit = 1; edit <= edits; edit++) {
    const due = start + ((edit - 1) / rate) * 1e6;
    // Timers come in whole milliseconds: the last one is spent looking at the clock.
    const wait = (due - micros()) / 1e3 - 2;
    if (wait > 0) await sleep(wait);
    while (micros() < due) await turn();
    begun.push(micros());
    state.set("number", edit);
  }
  tell({ begun });
}

async function presence(url, participants, seconds) {
  const providers = [];
  for (let number = 0; number < participants; number++) providers.push(await join(url, "page0"));
  let count = 0;
  for (const { awareness } of providers) {
    awareness.on("change", ({ added, updated }) => {
      count += [...added, ...updated].filter((client) => client !== awareness.clientID).length;
    });
  }
  const [start, shown] = [micros(), providers.map(() => 0)];
  while (micros() < start + seconds * 1e6) {
    for (const [number, { awareness }] of providers.entries()) {
      const due = start + (shown[number] / RATE + number / participants / RATE) * 1e6;
      if (micros() < due) continue;
      // Who is late does not catch up: the newest value is what counts.
      shown[number] = Math.max(shown[number] + 1, Math.floor(((micros() - start) / 1e6) * RATE));
      awareness.setLocalState(shown[number]);
    }
    await turn();
  }
  tell({ rate: count / ((micros() - start) / 1e6) });
  process.exit();
}

const [what, url, ...numbers] = process.argv.slice(2);
await { throughput, latency, presence }[what](url, ...numbers.map(Number));
