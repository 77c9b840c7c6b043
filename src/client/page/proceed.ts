import type { Authenticated, EnrolmentRequired, PasswordSet, RecoveryCodesIssued, TwoFactorRequired } from '../index.ts'
import { go, goToPath } from './go.ts'
import { words } from './words/index.ts'

export type Answer = Authenticated | TwoFactorRequired | EnrolmentRequired | RecoveryCodesIssued | PasswordSet
type Begun = { '2fa_required': TwoFactorRequired; '2fa_enrolment_required': EnrolmentRequired }

const keyOf = (status: keyof Begun): string => `doorstep.${status}`

/**
 * The login or enrolment that is under way in this tab. It outlives a reload, since phones drop a page while another app is
 * open; it is good for ten minutes and opens nothing but the next step.
 */
export const begun = {
  read: <Status extends keyof Begun>(status: Status): Begun[Status] | null =>
    JSON.parse(sessionStorage.getItem(keyOf(status)) ?? 'null'),
  keep: (answer: Begun[keyof Begun]): void => sessionStorage.setItem(keyOf(answer.status), JSON.stringify(answer)),
  forget: (): void => {
    for (const status of ['2fa_required', '2fa_enrolment_required'] as const) sessionStorage.removeItem(keyOf(status))
  },
}

/** What is shown once, at the next view: a word about what has just been done. */
let note: string | null = null
export const leaveNote = (text: string): void => {
  note = text
}
export const takeNote = (): string | null => {
  const taken = note
  note = null
  return taken
}

/** Codes that are on the screen now and nowhere else. */
let issued: string[] = []
export const issuedCodes = (): string[] => issued

/** Goes on as an answer says. This is the whole flow: whatever begins or ends a step comes by here. */
export function proceed(answer: Answer): void {
  switch (answer.status) {
    case '2fa_required':
      begun.keep(answer)
      go('#code')
      break
    case '2fa_enrolment_required':
      begun.keep(answer)
      go('#enrol', { replace: true })
      break
    case 'password_set':
      leaveNote(words().setPassword.done)
      go('', { replace: true })
      break
    case 'recovery_codes':
      issued = answer.recovery_codes
      go('#codes')
      break
    case 'authenticated':
      enter(answer)
  }
}

/** The session is there, and kept by the client. Codes are looked at before anything else. */
function enter({ recovery_codes: codes, recovery_codes_remaining: left, return_to: path }: Authenticated): void {
  begun.forget()
  if (left !== undefined) leaveNote(words().recovery.left(left))
  issued = codes ?? []
  next = path
  if (codes) go('#codes', { replace: true })
  else goOn()
}

/** Where the login was to lead, see `return_to`. */
let next: string | undefined

/** An application goes to the path that came back; this page has few of its own, and only says so. */
export function goOn(): void {
  issued = []
  const path = next
  next = undefined
  if (path !== undefined && path !== confirmPath) leaveNote(words().profile.returnTo(path))
  if (path === confirmPath) goToPath(path)
  else go('#factors', { replace: true })
}

/** The one page behind a mail's link that wants a session. */
const confirmPath = '/confirm-email'

/** `return_to` of a login that begins now: of the link that is open, or of the address (`?return_to=/orders/7`). */
export function returnTo(): { return_to?: string } {
  const wished = location.pathname.endsWith(confirmPath)
    ? confirmPath
    : new URLSearchParams(location.search).get('return_to')
  return wished === null ? {} : { return_to: wished }
}
