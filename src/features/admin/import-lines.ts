/** Bytes of a line: several times what a user has. */
export const longestLine = 16_384

/** One line of a file, counted from 1; null for one that is too long or not UTF-8. */
export type Line = { number: number; text: string | null }

const newline = 0x0a

/** The lines of `bytes` that are not blank, of which it never holds more than one, nor more of one than may be long. */
export async function* readLines(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  let number = 0
  let pieces: Uint8Array[] = []
  let length = 0
  const add = (piece: Uint8Array): void => {
    length += piece.length
    if (length > longestLine) pieces = []
    else pieces.push(piece)
  }
  const end = (): Line => {
    number += 1
    const text = length > longestLine ? null : textOf(Buffer.concat(pieces))
    pieces = []
    length = 0
    return { number, text }
  }
  for await (const chunk of bytes) {
    let begin = 0
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, begin)) {
      add(chunk.subarray(begin, at))
      begin = at + 1
      const line = end()
      if (!isBlank(line)) yield line
    }
    add(chunk.subarray(begin))
  }
  const last = end()
  if (!isBlank(last)) yield last
}

const isBlank = ({ text }: Line): boolean => text?.trim() === ''

/** Less a byte order mark. */
function textOf(bytes: Buffer): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return null
  }
}
