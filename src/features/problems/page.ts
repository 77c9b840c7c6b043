import { createHash } from 'node:crypto'
import type { ProblemPage } from './schemas.ts'

const style = `
:root { color-scheme: light dark; font: 1.0625rem/1.6 system-ui, sans-serif }
body { max-width: 42rem; margin: 0 auto; padding: 3rem 1.5rem }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 1.5rem }
code { font: 0.9375rem ui-monospace, monospace; padding: 0.1em 0.35em; border-radius: 0.25em; background: #8882 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1.5rem; margin: 2rem 0 }
dt { opacity: 0.7 }
dd { margin: 0; overflow-wrap: anywhere }
a { color: inherit }
`

/** Nothing but this very style sheet: the page has no script, image or form. */
export const pagePolicy =
  `default-src 'none';style-src 'sha256-${createHash('sha256').update(style).digest('base64')}';` +
  `base-uri 'none';form-action 'none';frame-ancestors 'none'`

/** A problem for a person who has followed `type` in a browser. Links are relative, to work under a path too. */
export function pageOf({ code, title, status, advice, type }: ProblemPage): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
<style>${style}</style>
<h1>${escaped(title)}</h1>
<p>${escaped(advice).replace(/`([^`]+)`/g, '<code>$1</code>')}</p>
<dl>
<dt>Code</dt><dd><code>${escaped(code)}</code></dd>
<dt>Status</dt><dd>${status}</dd>
<dt>Type</dt><dd>${escaped(type)}</dd>
</dl>
<p><a href="../docs">All calls and what they answer</a></p>
</html>
`
}

/** Whether a request would rather have a page than JSON (RFC 9110 12.5.1). What takes anything gets JSON. */
export function prefersPage(accept = ''): boolean {
  const wanted = accept.split(',').map((range) => {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase())
    const quality = parameters.find((it) => it.startsWith('q='))?.slice(2) ?? '1'
    return { type, quality: Number(quality) }
  })
  const qualityOf = (name: string): number => wanted.find(({ type }) => type === name)?.quality ?? 0
  return qualityOf('text/html') > qualityOf('application/json')
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`)
}
