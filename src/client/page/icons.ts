import type { Method } from '../index.ts'

/** Lines on a field of 24 by 24. */
const paths: Record<Method, string> = {
  passkey: 'M8 15a4 4 0 1 1 3.800-5.200H21v3h-2v3h-3v-3h-4.200A4 4 0 0 1 8 15ZM8 11v.01',
  totp: 'M7 3h10v18H7zM11 18h2M12 7v4l2 1.500',
  sms: 'M4 5h16v11h-9l-4 4v-4H4zM8 10h.01M12 10h.01M16 10h.01',
  email: 'M3 6h18v12H3zM3 7l9 6 9-6',
  recovery_code: 'M6 3h9l3 3v15H6zM9 10h6M9 14h6M9 18h3',
}

/** A picture of a method, made here: the page's policy lets no markup in. It says nothing that a word beside it does not. */
export function iconOf(method: Method): HTMLElement {
  const picture = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
  const lines = document.createElementNS('http://www.w3.org/2000/svg', 'path')
  lines.setAttribute('d', paths[method])
  for (const [name, value] of Object.entries({ viewBox: '0 0 24 24', width: '20', height: '20', fill: 'none' })) {
    picture.setAttribute(name, value)
  }
  for (const [name, value] of Object.entries({
    stroke: 'currentColor',
    'stroke-width': '2',
    'stroke-linejoin': 'round',
    'stroke-linecap': 'round',
  })) {
    picture.setAttribute(name, value)
  }
  picture.append(lines)
  const frame = document.createElement('span')
  frame.className = 'icon'
  frame.ariaHidden = 'true'
  frame.append(picture)
  return frame
}
