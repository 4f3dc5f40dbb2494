// A server for y-websocket's provider, to measure against: rooms in memory, as y-websocket's own server has them.
// Usage: node build/server.js [port]; the first line of output is the port.

import type { IncomingMessage } from "node:http";
import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";
import { WebSocket, WebSocketServer } from "ws";
import { applyAwarenessUpdate, Awareness, encodeAwarenessUpdate, removeAwarenessStates } from "y-protocols/awareness";
import { readSyncMessage, writeSyncStep1, writeUpdate } from "y-protocols/sync";
import * as Y from "yjs";

const SYNC = 0;
const AWARENESS = 1;

function message(kind: number, write: (encoder: encoding.Encoder) => void): Uint8Array {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, kind);
  write(encoder);
  return encoding.toUint8Array(encoder);
}

function send(socket: WebSocket, bytes: Uint8Array): void {
  if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
}

class Room {
  private readonly doc = new Y.Doc();
  private readonly awareness = new Awareness(this.doc);
  /** Each connection with the clients it speaks for, whose awareness ends with it. */
  private readonly sockets = new Map<WebSocket, Set<number>>();

  constructor() {
    this.awareness.setLocalState(null);
    this.doc.on("update", (update: Uint8Array) => this.broadcast(message(SYNC, (encoder) => writeUpdate(encoder, update))));
    this.awareness.on("update", (change: { added: number[]; updated: number[]; removed: number[] }, origin: unknown) => {
      const clients = origin instanceof WebSocket ? this.sockets.get(origin) : undefined;
      for (const client of change.added) clients?.add(client);
      for (const client of change.removed) clients?.delete(client);
      this.broadcast(this.awarenessOf([...change.added, ...change.updated, ...change.removed]));
    });
  }

  join(socket: WebSocket): void {
    this.sockets.set(socket, new Set());
    socket.on("message", (data) => this.receive(socket, data));
    socket.on("close", () => this.leave(socket));
    // `close` follows each error and does what there is to do.
    socket.on("error", () => {});
    send(socket, message(SYNC, (encoder) => writeSyncStep1(encoder, this.doc)));
    const clients = [...this.awareness.getStates().keys()];
    if (clients.length > 0) send(socket, this.awarenessOf(clients));
  }

  private leave(socket: WebSocket): void {
    const clients = [...(this.sockets.get(socket) ?? [])];
    this.sockets.delete(socket);
    removeAwarenessStates(this.awareness, clients, null);
  }

  private receive(socket: WebSocket, data: unknown): void {
    if (!(data instanceof ArrayBuffer)) return socket.close(1003);
    try {
      const decoder = decoding.createDecoder(new Uint8Array(data));
      const kind = decoding.readVarUint(decoder);
      if (kind === AWARENESS) applyAwarenessUpdate(this.awareness, decoding.readVarUint8Array(decoder), socket);
      if (kind !== SYNC) return;
      const answer = message(SYNC, (encoder) => readSyncMessage(decoder, encoder, this.doc, socket));
      // An answer of one byte is its kind alone: there is nothing to say.
      if (answer.length > 1) send(socket, answer);
    } catch (error) {
      console.error(error);
      socket.close(1002);
    }
  }

  private awarenessOf(clients: number[]): Uint8Array {
    return message(AWARENESS, (encoder) => encoding.writeVarUint8Array(encoder, encodeAwarenessUpdate(this.awareness, clients)));
  }

  private broadcast(bytes: Uint8Array): void {
    for (const socket of this.sockets.keys()) send(socket, bytes);
  }
}

const rooms = new Map<string, Room>();

function roomOf(request: IncomingMessage): Room {
  const name = (request.url ?? "").slice(1).replace(/\?.*$/, "");
  let room = rooms.get(name);
  if (room === undefined) rooms.set(name, (room = new Room()));
  return room;
}

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2] ?? 0) });
server.on("connection", (socket, request) => {
  socket.binaryType = "arraybuffer";
  roomOf(request).join(socket);
});
server.on("listening", () => {
  const address = server.address();
  console.log(typeof address === "object" ? address?.port : address);
});
