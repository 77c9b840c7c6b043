/** What a passkey's structures are made of. */
export type Cbor = number | string | Uint8Array | Cbor[] | Map<Cbor, Cbor>

/** CBOR (RFC 8949) of integers, bytes, text, arrays and maps, in the order given. */
export function cbor(value: Cbor): Buffer {
  if (typeof value === 'number') return value < 0 ? head(1, -1 - value) : head(0, value)
  if (typeof value === 'string') return Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)])
  if (value instanceof Uint8Array) return Buffer.concat([head(2, value.length), value])
  if (Array.isArray(value)) return Buffer.concat([head(4, value.length), ...value.map(cbor)])
  return Buffer.concat([head(5, value.size), ...[...value].flatMap((pair) => pair.map(cbor))])
}

/** A major type with its argument, as short as can be. */
function head(major: number, argument: number): Buffer {
  const type = major << 5
  if (argument < 24) return Buffer.from([type | argument])
  if (argument < 0x100) return Buffer.from([type | 24, argument])
  if (argument < 0x10000) return Buffer.from([type | 25, argument >> 8, argument & 0xff])
  return Buffer.from([type | 26, ...[24, 16, 8, 0].map((shift) => (argument >>> shift) & 0xff)])
}
