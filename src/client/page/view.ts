import { make, part } from './dom.ts'
import { language, words } from './words/index.ts'

/** What is to be seen, with its one h1; `isWide` where there are lists to show. `ended` is aborted when the next one comes. */
export type View = (ended: AbortSignal) => { isWide?: boolean; body: Node[] }

let shown = new AbortController()

/** Puts a view in the place of the one before it, and the focus where it begins: at its first field, or at its heading. */
export function show(view: View): void {
  shown.abort()
  shown = new AbortController()
  const { body, isWide = false } = view(shown.signal)
  const main = part('view')
  main.className = isWide ? 'wide' : 'narrow'
  main.replaceChildren(...body)
  document.documentElement.lang = language()
  const heading = main.querySelector('h1')
  // Where a long word may be parted is nothing to the title of a tab.
  document.title = `${heading?.textContent?.replaceAll('\u00ad', '')} · Doorstep`
  focusOn(main)
  scrollTo(0, 0)
}

/** The first field that asks for it; otherwise the heading, so that what is new is read from its beginning. */
export function focusOn(host: HTMLElement): void {
  const first = host.querySelector<HTMLElement>('[autofocus]') ?? host.querySelector<HTMLElement>('h1, h2')
  first?.focus()
}

/** While something is asked for. */
export const waiting: View = () => ({ body: [make('h1', { class: 'soft', tabindex: -1 }, words().oneMoment)] })
