import { announce, button, card, make, say } from './dom.ts'
import { goOn } from './proceed.ts'
import type { View } from './view.ts'
import { words } from './words/index.ts'

/** Ten codes, shown this once: to be copied, printed or written down. */
export const recoveryCodes =
  (codes: readonly string[]): View =>
  () => {
    const { recovery: text } = words()
    const copy = async (): Promise<void> => {
      await navigator.clipboard.writeText(codes.join('\n'))
      announce(text.copied)
    }
    const list = make('ol', { class: 'codes' }, ...codes.map((code) => make('li', {}, code)))
    const ways = make(
      'p',
      { class: 'row' },
      button(text.copy, copy, 'quiet'),
      button(text.print, () => print(), 'quiet'),
    )
    return { isWide: true, body: [card('h1', text.title, say(text.lead), list, ways, button(text.kept, goOn, 'wide'))] }
  }
