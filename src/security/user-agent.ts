// In order: a browser names those that it wants to be taken for as well.
const browsers = [
  ['Edge', /\bEdg(?:e|A|iOS)?\//],
  ['Opera', /\bOPR\/|\bOpera\b/],
  ['Samsung Internet', /\bSamsungBrowser\//],
  ['Firefox', /\b(?:Firefox|FxiOS)\//],
  ['Chrome', /\b(?:Chrome|Chromium|CriOS)\//],
  ['Safari', /\bSafari\//],
] as const

const systems = [
  ['iPad', /\biPad\b/],
  ['iPhone', /\biPhone\b|\biOS\b/],
  ['Android', /\bAndroid\b/],
  ['ChromeOS', /\bCrOS\b/],
  ['Windows', /\bWindows\b/],
  ['macOS', /\bMac ?OS ?X?\b|\bMacintosh\b/],
  ['Linux', /\bLinux\b/],
] as const

/**
 * A `User-Agent` in words for people, such as `Firefox, Windows`; null where it names nothing that is known. Only words of
 * our own: whoever has a stolen password writes this header, and would write the owner a link or a telephone number with it.
 */
export function describeUserAgent(userAgent: string | null | undefined): string | null {
  const find = (names: readonly (readonly [string, RegExp])[]) => names.find(([, it]) => it.test(userAgent ?? ''))?.[0]
  const words = [find(browsers), find(systems)].filter((word) => word !== undefined)
  return words.length > 0 ? words.join(', ') : null
}
