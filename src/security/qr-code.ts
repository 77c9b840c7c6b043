import { encodeQR } from 'qr'

/**
 * A QR code (ISO/IEC 18004) as the address of an SVG image, for `<img src>` under `img-src data:`: shapes only, no script,
 * style or reference. It brings its own white ground with the quiet zone of four modules, so that it can be read on a
 * dark page too. `text` must fit: up to 2,331 bytes. Throws when it does not.
 */
export function qrCode(text: string): string {
  const rows = encodeQR(text, 'raw', { border: 4 })
  const size = rows.length
  const ground = `<path fill="#fff" d="M0 0h${size}v${size}H0z"/>`
  const lines = rows.flatMap((row, y) => darkRuns(row).map(([x, width]) => `M${x} ${y}.5h${width}`))
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" shape-rendering="crispEdges">${ground}<path stroke="#000" d="${lines.join('')}"/></svg>`
  return `data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')}`
}

/** Where dark modules stand next to each other in a row: the first one's place, and how many. */
function darkRuns(row: boolean[]): [x: number, width: number][] {
  const modules = row.map((isDark) => (isDark ? '1' : '0')).join('')
  return [...modules.matchAll(/1+/g)].map((run) => [run.index, run[0].length])
}
