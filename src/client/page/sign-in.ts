import { hasPasskeys, passkeyProof } from '../index.ts'
import { action } from './action.ts'
import { card, make, say } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { field, form, passwordField, tick } from './form.ts'
import { linkTo } from './go.ts'
import { proceed, returnTo, takeNote } from './proceed.ts'
import type { View } from './view.ts'
import { words } from './words/index.ts'

/** To those who have no password that works: a link by mail. */
export const otherDoors = (): HTMLElement => {
  const { signIn: text } = words()
  return make('p', { class: 'row apart' }, linkTo('#forgot', text.forgot), linkTo('#register', text.register))
}

/** E-mail and password, or a passkey alone. */
export const signIn: View = (ended) => {
  const { signIn: text } = words()
  const note = takeNote()
  const place = make('div')
  const withPassword = form({
    fields: [
      field({
        name: 'email',
        label: text.email,
        type: 'email',
        autocomplete: 'username',
        autofocus: true,
        maxlength: 320,
      }),
      passwordField('password', text.password, 'current-password'),
      tick('remember_me', text.remember),
    ],
    submit: text.submit,
    ended,
    send: async ({ text: of, isTicked }) => {
      const given = { email: of('email'), password: of('password'), remember_me: isTicked('remember_me') }
      proceed(await doorstep.signIn({ ...given, ...returnTo() }))
    },
  })
  const withPasskey = action(text.passkey, { look: 'quiet wide', place, ended }, async () => {
    const remember_me = new FormData(withPassword).has('remember_me')
    const login = await doorstep.signInWithPasskey({ remember_me, ...returnTo() })
    proceed(await doorstep.finish(login, await passkeyProof(login.challenge, { signal: ended })))
  })
  return {
    body: [
      card(
        ...(['h1', text.title, say(text.lead, 'soft')] as const),
        note === null ? null : make('p', { class: 'good', role: 'status' }, note),
        withPassword,
        ...(hasPasskeys() ? [make('p', { class: 'or' }, text.or), withPasskey, place] : []),
      ),
      otherDoors(),
    ],
  }
}
