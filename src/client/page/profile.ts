import type { Me } from '../index.ts'
import { action } from './action.ts'
import { announce, card, make, say } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { field, form, passwordField } from './form.ts'
import { redraw } from './go.ts'
import { noteCard } from './note.ts'
import { leaveNote } from './proceed.ts'
import type { View } from './view.ts'
import { languages, momentOf, words } from './words/index.ts'

/** E-mail, password, language of mails, and the way out. */
export const profileView =
  (me: Me): View =>
  (ended) => {
    const { profile: text } = words()
    const level = text.level[me.acr === 'aal2' ? 'aal2' : 'aal1']
    const head = make('p', { class: 'row' }, me.email, make('span', { class: 'badge' }, level))
    return {
      isWide: true,
      body: [
        card('h1', text.title, head, ...noteCard()),
        card('h2', text.email, emailForm(ended)),
        card('h2', text.password, passwordForm(me, ended)),
        card('h2', text.mails, localeForm(me, ended)),
        card('h2', text.data, ...dataParts(ended)),
      ],
    }
  }

const done = (note: string): void => {
  leaveNote(note)
  redraw()
}

function emailForm(ended: AbortSignal): HTMLElement {
  const { profile: text } = words()
  return form({
    fields: [field({ name: 'email', label: text.newEmail, type: 'email', autocomplete: 'email', maxlength: 320 })],
    ...{ submit: text.changeEmail, look: 'quiet', ended },
    send: async ({ text: of }) => {
      await doorstep.changeEmail(of('email'))
      done(text.emailAsked(of('email')))
    },
  })
}

function passwordForm({ email }: Me, ended: AbortSignal): HTMLElement {
  const { profile: text, setPassword } = words()
  return form({
    fields: [
      // Tells a password manager whose password this is.
      make('input', { type: 'hidden', name: 'username', autocomplete: 'username', value: email }),
      passwordField('current_password', text.current, 'current-password'),
      passwordField('password', setPassword.password, 'new-password'),
    ],
    ...{ submit: text.changePassword, look: 'quiet', ended },
    send: async ({ text: of }) => {
      await doorstep.changePassword({ current_password: of('current_password'), password: of('password') })
      done(text.passwordChanged)
    },
  })
}

function localeForm({ locale }: Me, ended: AbortSignal): HTMLElement {
  const { profile: text, save } = words()
  const options = Object.entries(languages).map(([value, { language }]) =>
    make('option', { value, selected: locale.startsWith(value) }, language),
  )
  return form({
    fields: [make('select', { name: 'locale', class: 'text', 'aria-label': text.mails }, ...options)],
    ...{ submit: save, look: 'quiet', ended },
    send: async ({ text: of }) => {
      await doorstep.setLocale(of('locale'))
      done(text.mailsIn(languages[of('locale') as keyof typeof languages].language))
    },
  })
}

function dataParts(ended: AbortSignal): Node[] {
  const { profile: text } = words()
  const place = make('div')
  const take = async (): Promise<void> => {
    save('doorstep.json', JSON.stringify(await doorstep.exportAccount(), null, 2))
    announce(text.exported)
  }
  const leave = async (): Promise<void> => {
    const { erases_at: when } = await doorstep.deleteAccount()
    done(text.left(momentOf(when)))
  }
  const sure = action(text.leaveSure, { look: 'danger', place, ended }, leave)
  return [
    make('p', {}, action(text.export, { look: 'quiet', place, ended }, take)),
    make('details', {}, make('summary', {}, text.leave), say(text.leaveLead), sure),
    place,
  ]
}

function save(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }))
  make('a', { href: url, download: name }).click()
  // The browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
