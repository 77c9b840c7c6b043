import { announce, button, card, make, say } from './dom.ts'
import { goOn } from './proceed.ts'
import type { View } from './view.ts'
import { words } from './words/index.ts'

/** Ten codes, shown this once: to be copied, printed or written down. */
export const recoveryCodes =
  (codes: readonly string[]): View =>
  () => {
    const { recovery: text } = words()
    const place = make('div')
    const copy = async (): Promise<void> => {
      place.replaceChildren()
      try {
        await navigator.clipboard.writeText(codes.join('\n'))
        announce(text.copied)
      } catch {
        place.replaceChildren(make('p', { class: 'problem', role: 'alert' }, text.notCopied))
      }
    }
    const list = make('ol', { class: 'codes' }, ...codes.map((code) => make('li', {}, code)))
    const ways = make(
      'p',
      { class: 'row' },
      // Not there on a page without TLS.
      'clipboard' in navigator ? button(text.copy, copy, 'quiet') : null,
      button(text.print, () => print(), 'quiet'),
    )
    const parts = [say(text.lead), list, ways, place, button(text.kept, goOn, 'wide')]
    return { isWide: true, body: [card('h1', text.title, ...parts)] }
  }
