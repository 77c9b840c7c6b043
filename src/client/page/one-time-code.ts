import type { Challenge, DoorstepError } from '../index.ts'
import { field } from './form.ts'
import { words } from './words/index.ts'

const digitsOf = (text: string): string => text.replace(/[^0-9]/g, '')

/**
 * Where a code is typed, pasted or filled in. One that comes all at once (by paste, by the phone's keyboard, from the inbox) is sent
 * by itself, also in the place of a wrong one; spaces and hyphens in it do no harm.
 */
export function codeField(challenge: Challenge): HTMLElement {
  const { challenge: text } = words()
  if (!('code_length' in challenge)) {
    const typing = { autocomplete: 'off', autocapitalize: 'characters', spellcheck: 'false', maxlength: 64 }
    return field({ name: 'code', label: text.recoveryCode, autofocus: true, class: 'code', ...typing })
  }
  const length = challenge.code_length
  const wrapped = field({
    ...{ name: 'code', label: text.code, class: 'digits', autofocus: true, maxlength: 64 },
    ...{ inputmode: 'numeric', autocomplete: 'one-time-code' },
  })
  const input = wrapped.querySelector('input')
  let before = 0
  // What is selected is about to be replaced.
  const look = (): void => {
    const { value = '', selectionStart: from, selectionEnd: to } = input ?? {}
    before = digitsOf(value.slice(0, from ?? 0) + value.slice(to ?? 0)).length
  }
  input?.addEventListener('select', look)
  input?.addEventListener('beforeinput', look)
  input?.addEventListener('input', () => {
    const digits = digitsOf(input.value).length
    if (before === 0 && digits === length) input.form?.requestSubmit()
    before = digits
  })
  return wrapped
}

/**
 * Remembers which code was refused last, since one that is filled in is sent by itself and then easily once more by its reader:
 * `check` throws for the same code again, which would cost a try and can do nothing else.
 */
export function refusedCode() {
  let last: { code: string; attemptsRemaining: number | undefined } | undefined
  const bare = (code: string): string => code.replace(/[\s-]/g, '')
  return {
    check: (code: string): void => {
      if (bare(code) !== last?.code) return
      const { attemptsRemaining } = last
      throw Object.assign(new Error('was refused already'), { name: 'RefusedAlready', attemptsRemaining })
    },
    keep: (code: string, { attemptsRemaining }: DoorstepError): void => {
      last = { code: bare(code), attemptsRemaining }
    },
  }
}

/** Fills in a code, as the phone's keyboard would. False where none is asked for. */
export function fillIn(code: string): boolean {
  const inputs = document.querySelectorAll<HTMLInputElement>('[autocomplete="one-time-code"]')
  // The last one: a dialog stands behind what it covers.
  const input = [...inputs].at(-1)
  if (input === undefined) return false
  input.value = ''
  input.dispatchEvent(new Event('input'))
  input.value = code
  input.dispatchEvent(new Event('input'))
  return true
}

/** WebOTP: the browser on a phone reads the text, whose last line names this site, and asks whether to fill it in. */
export function listenForText(form: HTMLFormElement, ended: AbortSignal): void {
  if (!('OTPCredential' in window)) return
  const options = { otp: { transport: ['sms'] }, signal: ended } as CredentialRequestOptions
  const asked = navigator.credentials.get(options) as Promise<{ code?: string } | null>
  asked.then((found) => form.isConnected && found?.code !== undefined && fillIn(found.code)).catch(() => {})
}
