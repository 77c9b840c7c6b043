const browsers = {
  Edge: /\bEdg/,
  Opera: /\bOPR\//,
  Firefox: /Firefox\/|FxiOS/,
  Chrome: /Chrom(e|ium)\/|CriOS/,
  Safari: /Safari\//,
}
const systems = {
  iPad: /iPad/,
  iPhone: /iPhone/,
  Android: /Android/,
  Windows: /Windows/,
  macOS: /Mac ?OS/,
  Linux: /Linux/,
}

/** A browser as its owner knows it, such as `Firefox, Linux`; null where nothing is known. */
export function browserName(userAgent: string | null): string | null {
  // In order: a browser names those too that it wants to be taken for.
  const names = [browsers, systems].map(
    (known) => Object.entries(known).find(([, it]) => it.test(userAgent ?? ''))?.[0],
  )
  return names.filter((it) => it !== undefined).join(', ') || null
}
