import type { EnrolmentRequired, Method, NewFactor, Pending } from '../index.ts'
import { action } from './action.ts'
import { deviceName, isUsable } from './challenge.ts'
import { card, make, say } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { field, form } from './form.ts'
import { iconOf } from './icons.ts'
import { proceed } from './proceed.ts'
import type { View } from './view.ts'
import { words } from './words/index.ts'

/** The policy wants a second factor and there is none yet. */
export const enrolFirst =
  (login: EnrolmentRequired): View =>
  (ended) => {
    const { enrol: text } = words()
    return {
      body: [card('h1', text.title, say(text.lead, 'soft'), ...choices(login.methods, { ended, login, have: [] }))],
    }
  }

type Around = {
  ended: AbortSignal
  /** Of a login that waits for it; without one the session is what allows it. */
  login?: Pending
  /** What there is already. */
  have: readonly Method[]
}

const isNew = (method: Method): method is NewFactor['method'] => method !== 'recovery_code'

/** What can be set up here, each as a button; a phone needs its number first. */
export function choices(methods: readonly Method[], { ended, login, have }: Around): Node[] {
  const { enrol: text, factors, methods: names } = words()
  const place = make('div')
  const begin = async (factor: NewFactor): Promise<void> => proceed(await doorstep.factors.add(factor, login))
  const askForPhone = async (): Promise<void> => {
    place.replaceChildren(phoneForm(ended, begin))
    place.querySelector('input')?.focus()
  }
  const hintOf = (method: Method): string => {
    if (!have.includes(method)) return names[method].lead
    return method === 'passkey' ? factors.another : factors.replaces
  }
  const usable = methods.filter(isNew).filter(isUsable)
  if (usable.length === 0 && methods.includes('passkey')) return [say(words().challenge.noPasskeys)]
  const buttons = usable.map((method, index) => {
    const start = { sms: askForPhone, passkey: () => begin({ method, name: deviceName() }) }[method as string]
    const button = action('', { look: 'quiet choice', place, ended }, start ?? (() => begin({ method })))
    const best = index === 0 && have.length === 0 ? make('span', { class: 'badge' }, text.best) : null
    const name = make('span', {}, names[method].name, ' ', best, make('small', {}, hintOf(method)))
    button.append(iconOf(method), name)
    return make('li', {}, button)
  })
  return [make('ul', { class: 'plain' }, ...buttons), place]
}

function phoneForm(ended: AbortSignal, begin: (factor: NewFactor) => Promise<void>): HTMLFormElement {
  const { enrol: text } = words()
  return form({
    fields: [
      field({
        name: 'phone',
        label: text.phone,
        hint: text.phoneHint,
        type: 'tel',
        autocomplete: 'tel',
        maxlength: 40,
      }),
    ],
    submit: text.start,
    ended,
    send: ({ text: of }) => begin({ method: 'sms', phone: of('phone') }),
  })
}
