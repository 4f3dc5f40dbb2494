// What a state looks like, as a value: the part of a Rust type that its layout depends on.

/** The types of a key of a map, and of an element of a set. */
export type Key =
  | { kind: "string" | "bool" | "uuid" | "id" }
  | { kind: "int" | "uint"; bits: number };

/** The types that stand in one register. */
export type Scalar =
  | { kind: "bool" | "float" | "string" | "bytes" | "uuid" | "id" }
  | { kind: "int" | "uint"; bits: number };

export type Fields = { [name: string]: Schema };

/** A variant of an enum: nothing (unit), a list (tuple) or names (struct). */
export type Variant = null | Schema[] | Fields;

export type Schema =
  | Scalar
  | { kind: "option"; inner: Schema }
  | { kind: "struct"; fields: Fields }
  | { kind: "enum"; variants: { [name: string]: Variant }; default: string }
  | { kind: "text" }
  | { kind: "list"; inner: Scalar }
  | { kind: "counter" }
  | { kind: "map"; key: Key; inner: Schema }
  | { kind: "set"; key: Key }
  | { kind: "movableList"; inner: Schema }
  | { kind: "tree"; inner: Schema }
  | { kind: "groups"; group: Schema; item: Schema };

export const bool = { kind: "bool" } as const;
export const float = { kind: "float" } as const;
export const string = { kind: "string" } as const;
export const bytes = { kind: "bytes" } as const;
export const uuid = { kind: "uuid" } as const;
export const elementId = { kind: "id" } as const;
export const text = { kind: "text" } as const;
export const counter = { kind: "counter" } as const;
export const int = (bits = 64) => ({ kind: "int", bits }) as const;
export const uint = (bits = 64) => ({ kind: "uint", bits }) as const;
export const option = (inner: Schema): Schema => ({ kind: "option", inner });
export const struct = (fields: Fields): Schema => ({ kind: "struct", fields });
export const enum_ = (variants: { [name: string]: Variant }, default_: string): Schema =>
  ({ kind: "enum", variants, default: default_ });
export const list = (inner: Scalar): Schema => ({ kind: "list", inner });
export const map = (key: Key, inner: Schema): Schema => ({ kind: "map", key, inner });
export const set = (key: Key): Schema => ({ kind: "set", key });
export const movableList = (inner: Schema): Schema => ({ kind: "movableList", inner });
export const tree = (inner: Schema): Schema => ({ kind: "tree", inner });
export const groups = (group: Schema, item: Schema): Schema => ({ kind: "groups", group, item });
