/** What a mail says, in one language: `paragraphs` of plain text, in which `\n` begins a new line. */
export type Content = { subject: string; paragraphs: string[]; code?: string }

/**
 * A mail's subject and both its parts. Whatever is in the words is text: it is escaped here, in one place, and gets no
 * markup and no link. A code stands on a line of its own, after the first paragraph.
 */
export function composeMail(content: Content, language: string): { subject: string; text: string; html: string } {
  const { subject, paragraphs, code } = content
  const [first = '', ...rest] = paragraphs
  const text = [first, ...(code === undefined ? [] : [code]), ...rest].join('\n\n')
  const html = [
    `<!doctype html><html lang="${escapeHtml(language)}"><head><meta charset="utf-8"><title>${escapeHtml(subject)}</title></head>`,
    '<body style="font-family:sans-serif;font-size:16px;line-height:1.5">',
    paragraph(first),
    ...(code === undefined
      ? []
      : [`<p style="font-size:28px;letter-spacing:4px"><strong>${escapeHtml(code)}</strong></p>`]),
    ...rest.map(paragraph),
    '</body></html>',
  ]
  return { subject: oneLine(subject, 150), text: `${text}\n`, html: `${html.join('\n')}\n` }
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
