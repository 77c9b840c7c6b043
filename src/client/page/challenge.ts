import {
  type Challenge,
  type ChallengeStatus,
  DoorstepError,
  type FinishAnswer,
  hasPasskeys,
  type Method,
  type Proof,
  passkeyProof,
  type TwoFactorRequired,
} from '../index.ts'
import { action } from './action.ts'
import { browserName } from './browser-name.ts'
import { make, say } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { form, tick } from './form.ts'
import { iconOf } from './icons.ts'
import { codeField, listenForText, refusedCode } from './one-time-code.ts'
import { sendingStatus } from './sending-status.ts'
import { setUpPart } from './set-up.ts'
import { focusOn } from './view.ts'
import { words } from './words/index.ts'

type Surroundings = {
  ended: AbortSignal
  heading: 'h1' | 'h2'
  /** Offers to trust this device. */
  mayTrust: boolean
  onAnswer: (answer: FinishAnswer) => unknown
  /** The login goes on with something else from now on. */
  onChange?: (login: TwoFactorRequired) => void
  /** It is over: too late, or used up. */
  onOver: () => void
}

/** Where the answer of a method is given, whichever it is: in a login, a step-up and an enrolment alike. */
export function challengeCard(login: TwoFactorRequired, surroundings: Surroundings): HTMLElement {
  // In a dialog the dialog is the frame.
  const host = make('section', { class: surroundings.heading === 'h1' ? 'card' : 'inner' })
  let drawn = new AbortController()

  const draw = (now: TwoFactorRequired): void => {
    drawn.abort()
    drawn = new AbortController()
    const ended = AbortSignal.any([drawn.signal, surroundings.ended])
    host.replaceChildren(...partsOf(now, { ...surroundings, ended }, change))
  }
  const change = ({ challenge, methods }: ChallengeStatus): void => {
    if (challenge === null) return
    const next = { ...login, challenge, methods }
    surroundings.onChange?.(next)
    draw(next)
    focusOn(host)
  }
  draw(login)
  return host
}

function partsOf(login: TwoFactorRequired, around: Surroundings, change: (status: ChallengeStatus) => void): Node[] {
  const { challenge: text } = words()
  const { challenge } = login
  const { title, lead } = headOf(challenge)
  const place = make('div')
  const again = 'resend_after' in challenge ? sendingStatus(login, challenge, { ended: around.ended, change }) : []
  return [
    make(around.heading, { tabindex: -1 }, title),
    say(lead, 'soft'),
    ...setUpPart(challenge),
    isUsable(challenge.method) ? answerForm(login, around) : make('p', { class: 'problem' }, text.noPasskeys),
    ...again,
    ...otherWays(login, place, around, change),
    place,
  ]
}

function headOf(challenge: Challenge): { title: string; lead: string } {
  const { challenge: text, enrol } = words()
  const { method } = challenge
  if ('setup' in challenge && challenge.setup) {
    return method === 'totp'
      ? { title: enrol.totpTitle, lead: enrol.totpLead }
      : { title: enrol.passkeyTitle, lead: enrol.passkeyLead }
  }
  const lead = 'destination' in challenge ? text.sentTo(challenge.destination) : text.lead[challenge.method]
  return { title: text.title[method], lead }
}

/** The code or the passkey, and whether this device is to be trusted. */
function answerForm(login: TwoFactorRequired, { ended, mayTrust, onAnswer, onOver }: Surroundings): HTMLFormElement {
  const { challenge: text, enrol } = words()
  const { challenge } = login
  const isSetUp = 'setup' in challenge && challenge.setup !== undefined
  // The service does not hear of trust after these.
  const isWeak = challenge.method === 'email' || challenge.method === 'recovery_code'
  const trust = mayTrust && !isSetUp && !isWeak ? [tick('trust_device', text.trust)] : []
  const isPasskey = challenge.method === 'passkey'
  const refused = refusedCode()
  const answering = form({
    fields: isPasskey ? trust : [codeField(challenge), ...trust],
    submit: isPasskey ? (isSetUp ? enrol.create : text.usePasskey) : text.submit,
    ended,
    send: async ({ text: of, isTicked }) => {
      const proof: Proof = isPasskey
        ? await passkeyProof(challenge, { signal: ended })
        : { method: challenge.method, code: of('code') }
      const device = isTicked('trust_device') ? { trust_device: true, device_name: deviceName() } : {}
      try {
        if (!isPasskey) refused.check(of('code'))
        onAnswer(await doorstep.finish(login, { ...proof, ...device }))
      } catch (error) {
        if (error instanceof DoorstepError && error.code === 'invalid_token') return onOver()
        if (error instanceof DoorstepError && error.code === 'invalid_code') refused.keep(of('code'), error)
        answering.querySelector<HTMLInputElement>('[name="code"]')?.select()
        tellTries(answering, error)
        throw error
      }
    },
  })
  if (isPasskey) answering.querySelector('button')?.setAttribute('autofocus', '')
  if (challenge.method === 'sms') listenForText(answering, ended)
  return answering
}

/** How many tries are left is said once: by the problem, where that knows, and otherwise where it stood before. */
function tellTries(answering: HTMLElement, error: unknown): void {
  const tries = answering.parentElement?.querySelector<HTMLElement>('.tries')
  if (!tries) return
  const { attemptsRemaining } = error as Partial<DoorstepError>
  tries.hidden = attemptsRemaining !== undefined
  if (attemptsRemaining !== undefined) tries.textContent = words().challenge.triesLeft(attemptsRemaining)
}

/** What its owner will know this browser by. */
export const deviceName = (): string => browserName(navigator.userAgent) ?? 'Browser'

/** Whether this browser can do it: there are no passkeys where the address of the page is not a secure one, for example. */
export const isUsable = (method: Method): boolean => method !== 'passkey' || hasPasskeys()

function otherWays(
  login: TwoFactorRequired,
  place: HTMLElement,
  { ended, onOver }: Surroundings,
  change: (status: ChallengeStatus) => void,
): Node[] {
  const { challenge: text, methods: names } = words()
  const others = login.methods.filter((it) => it !== login.challenge.method && isUsable(it))
  if (others.length === 0) return []
  const switchTo = (method: Method) => async () => {
    try {
      change(await doorstep.switchMethod(login, method))
    } catch (error) {
      if (error instanceof DoorstepError && error.code === 'invalid_token') return onOver()
      throw error
    }
  }
  const buttons = others.map((method) => {
    const button = action('', { look: 'quiet choice', place, ended }, switchTo(method))
    const { name, lead } = names[method]
    button.append(iconOf(method), make('span', {}, name, make('small', {}, lead)))
    return make('li', {}, button)
  })
  const open = !isUsable(login.challenge.method)
  return [make('details', { open }, make('summary', {}, text.another), make('ul', { class: 'plain' }, ...buttons))]
}
