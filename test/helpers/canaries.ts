/** A secret to look for, by a name that a failing test may print. */
export type Canary = { name: string; value: string | Buffer }

/** Base64 of bytes wherever they stand in longer text: the characters at either end depend on the neighbours. */
function base64Within(bytes: Buffer, encoding: 'base64' | 'base64url'): string[] {
  return [0, 1, 2].map((offset) => {
    const text = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString(encoding)
      .replace(/=+$/, '')
    const firstWhole = Math.ceil((offset * 8) / 6)
    const lastWhole = Math.floor(((offset + bytes.length) * 8) / 6)
    return text.slice(firstWhole, lastWhole)
  })
}

const jsonEscaped = (text: string): string => JSON.stringify(text).slice(1, -1)
const asciiJson = (text: string): string =>
  jsonEscaped(text).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** Every way that a secret may be written. */
export function spellings({ value }: Canary): string[] {
  const bytes = Buffer.from(value as string)
  const inBytes = [
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    ...base64Within(bytes, 'base64'),
    ...base64Within(bytes, 'base64url'),
  ]
  if (typeof value !== 'string') return [...new Set(inBytes)]
  const form = new URLSearchParams({ v: value }).toString().slice(2)
  const inText = [
    value,
    jsonEscaped(value),
    jsonEscaped(jsonEscaped(value)),
    asciiJson(value),
    encodeURIComponent(value),
    form,
    value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;'),
  ]
  return [...new Set([...inText, ...inBytes])]
}

/** The names of the canaries that stand in `text` in any spelling; `bytes` besides it, as they are. */
export function canariesIn(text: string, canaries: Canary[], bytes: Buffer = Buffer.alloc(0)): string[] {
  const tooShort = canaries.find(({ value }) => value.length < 8)
  if (tooShort) throw new Error(`"${tooShort.name}" is too short to be looked for`)
  return canaries
    .filter((canary) => bytes.includes(canary.value) || spellings(canary).some((it) => text.includes(it)))
    .map(({ name }) => name)
}
