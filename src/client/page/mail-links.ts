import { DoorstepError } from '../index.ts'
import { card, make, say } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { form, passwordField, type Values } from './form.ts'
import { go, linkTo } from './go.ts'
import { leaveNote, proceed, returnTo } from './proceed.ts'
import { otherDoors, signIn } from './sign-in.ts'
import type { View } from './view.ts'
import { words } from './words/index.ts'

/**
 * The pages that mails lead to. The token stands behind `#`, so that no server sees it; it is taken out of the address at once, and
 * used when its reader clicks, never by itself: programs that look through mail follow links too.
 */
let token: string | undefined

/** Takes the token out of the address, if there is one. */
export function takeToken(): void {
  const [, found] = /^#token=(.+)$/.exec(location.hash) ?? []
  if (found === undefined) return
  token = found
  history.replaceState(null, '', location.pathname)
}

/** What is behind each path; `isSignedIn`: whether there is a session here. */
export function linkedView(path: string, isSignedIn: boolean): View | undefined {
  const page = path.slice(path.lastIndexOf('/') + 1)
  if (!['set-password', 'confirm-email', 'not-me'].includes(page)) return undefined
  if (token === undefined) return noLink
  if (page === 'set-password') return setPassword(token)
  if (page === 'not-me') return notMe(token)
  if (isSignedIn) return confirmEmail(token)
  leaveNote(words().confirmEmail.signInFirst)
  return signIn
}

const noLink: View = () => ({
  body: [card('h1', words().setPassword.title, say(words().noLink)), make('p', {}, linkTo('', words().register.back))],
})

/** Sends, and where the link is spent shows the ways to another one at `place`. */
const withWaysOn =
  (place: HTMLElement, send: (values: Values) => Promise<unknown>) =>
  async (values: Values): Promise<void> => {
    try {
      await send(values)
    } catch (error) {
      if (error instanceof DoorstepError && error.code === 'link_expired') place.replaceChildren(otherDoors())
      throw error
    }
  }

const setPassword =
  (token: string): View =>
  (ended) => {
    const { setPassword: text } = words()
    const place = make('div')
    const choosing = form({
      fields: [passwordField('password', text.password, 'new-password')],
      submit: text.submit,
      ended,
      send: withWaysOn(place, async ({ text: of }) =>
        proceed(await doorstep.setPassword({ token, password: of('password'), ...returnTo() })),
      ),
    })
    return { body: [card('h1', text.title, say(text.lead, 'soft'), choosing), place] }
  }

const confirmEmail =
  (token: string): View =>
  (ended) => {
    const { confirmEmail: text } = words()
    const send = async () => {
      const { email } = await doorstep.confirmEmail(token)
      leaveNote(text.done(email))
      go('#profile', { replace: true })
    }
    return { body: [card('h1', text.title, say(text.lead), form({ fields: [], submit: text.submit, ended, send }))] }
  }

const notMe =
  (token: string): View =>
  (ended) => {
    const { notMe: text } = words()
    const place = make('div')
    const send = withWaysOn(place, async () => {
      await doorstep.secureAccount(token)
      // The session of this browser has ended too.
      await doorstep.signOut()
      leaveNote(text.done)
      go('', { replace: true })
    })
    const sending = form({ fields: [], submit: text.submit, ended, send })
    return { body: [card('h1', text.title, say(text.lead), sending), place] }
  }
