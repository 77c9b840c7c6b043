import { createHash } from 'node:crypto'
import { lookCss } from '../../look.ts'
import type { ProblemPage } from './schemas.ts'

const style = `${lookCss}
body { max-width: 44rem; margin: 0 auto; padding: 3rem 1.5rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 var(--sans) }
header { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center; color: var(--quiet) }
header b { background: var(--accent); color: var(--on-accent); border-radius: 6px; padding: 0.1rem 0.6rem }
h1 { font-size: 1.9rem; line-height: 1.25; margin: 1rem 0 2rem }
h2 { font-size: 1.0625rem; margin: 2rem 0 0.25rem; color: var(--accent) }
p { margin: 0 }
code, pre { font: 0.9375rem/1.6 var(--mono); background: var(--raised); border-radius: 6px; overflow-wrap: anywhere }
code { padding: 0.1em 0.35em }
pre { border: 1px solid var(--line); border-radius: var(--radius); padding: 1rem; white-space: pre-wrap; margin: 0.5rem 0 2.5rem }
a { color: var(--accent) }
`

/** Nothing but this very style sheet: the page has no script, image or form. */
export const pagePolicy =
  `default-src 'none';style-src 'sha256-${createHash('sha256').update(style).digest('base64')}';` +
  `base-uri 'none';form-action 'none';frame-ancestors 'none'`

/** A problem for a person who has followed `type` in a browser. Links are relative, to work under a path too. */
export function pageOf({ code, title, status, cause, advice, body }: ProblemPage): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)} · Doorstep</title>
<style>${style}</style>
<header><b>${status}</b><code>${escaped(code)}</code></header>
<main>
<h1>${escaped(title)}</h1>
<h2>Why</h2>
<p>${worded(cause)}</p>
<h2>What to do</h2>
<p>${worded(advice)}</p>
<h2>What it looks like</h2>
<pre tabindex="0">${escaped(JSON.stringify(body, null, 2))}</pre>
</main>
<p><a href="../docs">All calls and what they answer</a></p>
</html>
`
}

/** Text with what stands in backticks as code. */
const worded = (text: string): string => escaped(text).replace(/`([^`]+)`/g, '<code>$1</code>')

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
