import type { MailSent } from '../index.ts'
import { countDown } from './countdown.ts'
import { card, make, say } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { field, form } from './form.ts'
import { linkTo } from './go.ts'
import { show, type View } from './view.ts'
import { language, words } from './words/index.ts'

type Ask = (email: string) => Promise<MailSent>

/** A link that registers. */
export const register: View = (ended) =>
  askForLink(words().register, (email) => doorstep.register({ email, locale: language() }), ended)

/** A link that sets a new password. */
export const forgot: View = (ended) =>
  askForLink(words().forgot, (email) => doorstep.forgotPassword({ email, locale: language() }), ended)

function askForLink(text: { title: string; lead: string; submit: string }, ask: Ask, ended: AbortSignal) {
  const asking = form({
    fields: [
      field({
        name: 'email',
        label: words().signIn.email,
        type: 'email',
        autocomplete: 'email',
        autofocus: true,
        maxlength: 320,
      }),
    ],
    submit: text.submit,
    ended,
    send: async ({ text: of }) => show(mailSent(of('email'), await ask(of('email')), ask)),
  })
  return {
    body: [card('h1', text.title, say(text.lead, 'soft'), asking), make('p', {}, linkTo('', words().register.back))],
  }
}

/** The same for every address: whether it has an account only its mailbox learns. */
function mailSent(email: string, { expires_in, resend_after }: MailSent, ask: Ask): View {
  return (ended) => {
    const { mailSent: text } = words()
    const again = form({
      fields: [],
      submit: text.again,
      look: 'quiet',
      ended,
      send: async () => show(mailSent(email, await ask(email), ask)),
    })
    const action = again.querySelector('button')
    countDown(resend_after, ended, (left) => {
      if (action === null) return
      action.textContent = left > 0 ? text.againIn(left) : text.again
      action.ariaDisabled = left > 0 ? 'true' : null
    })
    return {
      body: [
        card('h1', text.title, say(text.lead(email, expires_in)), again),
        make('p', {}, linkTo('', words().register.back)),
      ],
    }
  }
}
