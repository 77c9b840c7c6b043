import { make } from './dom.ts'
import { base } from './doorstep.ts'

/** The places of this page: what stands in the address behind `#`. */
export type Place = '' | '#register' | '#forgot' | '#code' | '#enrol' | '#codes' | '#factors' | '#devices' | '#profile'

let draw: () => unknown = () => {}

/** What draws the place that the address names; also after the buttons of the browser. */
export function drawBy(drawing: () => unknown): void {
  draw = drawing
  addEventListener('popstate', () => draw())
}

/** Draws anew what is there. */
export const redraw = (): unknown => draw()

/** Goes to a place. `replace`: one cannot come back to where this is called, such as a login that is over. */
export function go(place: Place, { replace = false } = {}): void {
  const url = new URL(place || '.', base)
  if (replace || url.href === location.href) history.replaceState(null, '', url)
  else history.pushState(null, '', url)
  draw()
}

/** Goes to a page behind the link of a mail. */
export function goToPath(path: string): void {
  history.replaceState(null, '', new URL(`.${path}`, base))
  draw()
}

/** A link to a place, that can be opened in another tab too. */
export function linkTo(
  place: Place,
  text: string,
  attributes: Record<string, string | undefined> = {},
): HTMLAnchorElement {
  const onclick = (event: Event): void => {
    const { ctrlKey, metaKey, shiftKey } = event as MouseEvent
    if (ctrlKey || metaKey || shiftKey) return
    event.preventDefault()
    go(place)
  }
  return make('a', { href: new URL(place || '.', base).href, onclick, ...attributes }, text)
}
