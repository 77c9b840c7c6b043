const longestSubject = 150

/** Readable on a telephone, no wider than a page; a long link or word is broken rather than cut. */
const style =
  'max-width:600px;margin:0 auto;padding:16px;font-family:sans-serif;font-size:16px;line-height:1.5;overflow-wrap:anywhere;word-break:break-word'

/** What a mail says, in one language: `paragraphs` of plain text, in which `\n` begins a new line. */
export type Content = { subject: string; paragraphs: string[]; code?: string; link?: string }

/**
 * A mail's subject and both its parts. Whatever is in the words is text: it is escaped here, in one place, and gets no
 * markup and no link but our own. A code stands on a line of its own, after the first paragraph; a link, which the last
 * one announces, at the end. The page has no colours of its own, so that it is dark where its reader wants that.
 */
export function composeMail(content: Content, language: string): { subject: string; text: string; html: string } {
  const { subject, paragraphs, code, link } = content
  const [first = '', ...rest] = paragraphs
  const text = [first, ...(code === undefined ? [] : [code]), ...rest, ...(link === undefined ? [] : [link])].join(
    '\n\n',
  )
  const html = [
    `<!doctype html><html lang="${escapeHtml(language)}"><head><meta charset="utf-8">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<meta name="color-scheme" content="light dark">',
    `<title>${escapeHtml(oneLine(subject, longestSubject))}</title></head>`,
    `<body style="${style}">`,
    paragraph(first),
    ...(code === undefined
      ? []
      : [`<p style="font-size:28px;letter-spacing:4px"><strong>${escapeHtml(code)}</strong></p>`]),
    ...rest.map(paragraph),
    ...(link === undefined ? [] : [`<p><a href="${escapeHtml(link)}">${escapeHtml(link)}</a></p>`]),
    '</body></html>',
  ]
  return { subject: oneLine(subject, longestSubject), text: `${text}\n`, html: `${html.join('\n')}\n` }
}

/**
 * A value in the middle of a text: line ends, control characters and the invisible marks that turn or hide text become
 * spaces, at most `length` code points are kept.
 */
export function oneLine(value: string, length: number): string {
  const visible = value.replace(/[\p{C}\p{Z}]+/gu, ' ').trim()
  const characters = [...visible]
  return characters.length <= length ? visible : `${characters.slice(0, length - 1).join('')}…`
}

const paragraph = (text: string): string => `<p>${escapeHtml(text).replaceAll('\n', '<br>')}</p>`

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => entities[character] ?? '')
