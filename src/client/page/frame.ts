import { button, make, part } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { linkTo, redraw } from './go.ts'
import { drawInbox } from './inbox.ts'
import { type Language, language, languages, speak, words } from './words/index.ts'

/** What stands above every view: where one can go when signed in, and the languages. */
export function drawFrame(isSignedIn: boolean): void {
  const { menu } = words()
  const places = [
    ['#factors', menu.factors],
    ['#devices', menu.devices],
    ['#profile', menu.profile],
  ] as const
  const links = places.map(([place, name]) =>
    linkTo(place, name, { 'aria-current': location.hash === place ? 'page' : undefined }),
  )
  const nav = part('menu')
  nav.hidden = !isSignedIn
  nav.setAttribute('aria-label', menu.label)
  nav.replaceChildren(
    ...links,
    button(menu.signOut, () => doorstep.signOut().catch(() => {}), 'quiet small'),
  )
  drawLanguages()
}

function drawLanguages(): void {
  const host = part('languages')
  host.setAttribute('role', 'group')
  host.setAttribute('aria-label', words().languages)
  const buttons = Object.entries(languages).map(([code, its]) => {
    const choose = (): void => {
      speak(code as Language)
      drawInbox()
      redraw()
    }
    return make(
      'button',
      {
        type: 'button',
        class: 'language',
        lang: code,
        'aria-pressed': String(code === language()),
        onclick: choose,
      },
      its.language,
    )
  })
  host.replaceChildren(...buttons)
}
