import { DoorstepError } from '../index.ts'
import { countDown } from './countdown.ts'
import { make } from './dom.ts'
import { words } from './words/index.ts'

/** What is not of the service: what the browser throws instead of a passkey's answer, and what this page does not send. */
const ownErrors: Record<string, 'passkeyRefused' | 'passkeyElsewhere' | 'passkeyKnown' | 'refusedAlready'> = {
  NotAllowedError: 'passkeyRefused',
  AbortError: 'passkeyRefused',
  SecurityError: 'passkeyElsewhere',
  InvalidStateError: 'passkeyKnown',
  RefusedAlready: 'refusedAlready',
}

/** What went wrong, for people: what it is, how many tries are left, and what to name when asking for help. */
function wordsOf(error: unknown): string {
  const { problems, challenge } = words()
  const { name, attemptsRemaining } = error as Partial<DoorstepError>
  const tries = attemptsRemaining === undefined ? '' : ` ${challenge.triesLeft(attemptsRemaining)}`
  if (!(error instanceof DoorstepError)) {
    const known = ownErrors[name ?? '']
    return (known ? problems[known] : problems.unexpected) + tries
  }
  if (error.code === 'network') return problems.offline
  return (problems.byCode[error.code] ?? problems.unexpected) + tries
}

/** What is wrong with one field, in words of ours: those of the service are English, and for programmers. */
export function wordsOfField(pointer: string, message: string): string {
  const { problems } = words()
  const known = knownWordsOf(pointer, message)
  return known ?? problems.byCode.invalid_request ?? problems.unexpected
}

function knownWordsOf(pointer: string, message: string): string | undefined {
  const { problems } = words()
  if (pointer === '/phone') return problems.phone
  if (pointer === '/email') return problems.emailForm
  if (pointer === '/name') return problems.nameForm
  if (pointer === '/code') return wordsOfCode(message)
  return /password$/.test(pointer) ? wordsOfPassword(message) : undefined
}

function wordsOfCode(message: string): string | undefined {
  const { problems } = words()
  const [, digits] = /(\d+) digits/.exec(message) ?? []
  if (digits !== undefined) return problems.codeForm(Number(digits))
  return /recovery code/.test(message) ? problems.recoveryCodeForm : undefined
}

function wordsOfPassword(message: string): string | undefined {
  const { problems } = words()
  const limit = Number(/\d+/.exec(message)?.[0])
  if (/at least \d/.test(message)) return problems.passwords.length(limit)
  if (/more than \d/.test(message)) return problems.passwords.longest(limit)
  if (/e-mail/.test(message)) return problems.passwords.email
  if (/this service/.test(message)) return problems.passwords.service
  if (/many people/.test(message)) return problems.passwords.common
  return /breach/.test(message) ? problems.passwords.breached : undefined
}

/**
 * A box that says it at once, also to those who listen, and counts down to when it can be tried again. `free`: called when it can.
 */
export function problemBox(error: unknown, ended: AbortSignal, free: () => unknown = () => {}): HTMLElement {
  const { problems } = words()
  const { retryAfter, requestId } = error instanceof DoorstepError ? error : {}
  // Read once, not every second.
  const wait = make('span', { 'aria-live': 'off' })
  const box = make('div', { class: 'problem', role: 'alert' }, make('strong', {}, wordsOf(error)), ' ', wait)
  if (requestId !== undefined) box.append(make('small', {}, problems.request(requestId)))
  if (retryAfter === undefined) free()
  else {
    countDown(retryAfter, ended, (left) => {
      wait.textContent = left > 0 ? problems.again(left) : ''
      if (left === 0) free()
    })
  }
  return box
}
