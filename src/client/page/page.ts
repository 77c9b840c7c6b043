import { DoorstepError } from '../index.ts'
import { forgot, register } from './ask-for-mail.ts'
import { devicesView } from './devices.ts'
import { card, make } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { enrolFirst } from './enrol.ts'
import { factorsView } from './factors.ts'
import { drawFrame } from './frame.ts'
import { drawBy, go, linkTo, type Place, redraw } from './go.ts'
import { openInbox } from './inbox.ts'
import { linkedView, takeToken } from './mail-links.ts'
import { problemBox } from './problem.ts'
import { begun, issuedCodes, leaveNote } from './proceed.ts'
import { profileView } from './profile.ts'
import { recoveryCodes } from './recovery-codes.ts'
import { asItStands, secondStep } from './second-step.ts'
import { signIn } from './sign-in.ts'
import { show, type View, waiting } from './view.ts'
import { words } from './words/index.ts'

// The example page of Doorstep: everything that a person does, by the typed client beside it (../index.ts) and nothing else.
// Read this first, then proceed.ts, which is the whole flow, then challenge.ts, which answers any second factor.

/** What is at a place, for somebody who is signed in or not; null: nothing, for them. */
async function viewAt(place: string, isSignedIn: boolean): Promise<View | null> {
  const [login, enrolment] = [begun.read('2fa_required'), begun.read('2fa_enrolment_required')]
  if (place === '#code') {
    const standing = login && (await asItStands(login))
    return standing && secondStep(standing)
  }
  if (place === '#enrol') return enrolment && enrolFirst(enrolment)
  if (!isSignedIn) return { '': signIn, '#register': register, '#forgot': forgot }[place] ?? null
  switch (place) {
    case '#codes':
      return issuedCodes().length > 0 ? recoveryCodes(issuedCodes()) : null
    case '#factors':
      return factorsView(await doorstep.factors.list())
    case '#devices':
      return devicesView(await doorstep.devices.list(), await doorstep.sessions.list())
    case '#profile':
      return profileView(await doorstep.me())
    default:
      return null
  }
}

let drawings = 0

/** Draws what the address names. Where there is nothing, what is at the door: the sign-in, or the account. */
async function draw(): Promise<void> {
  drawings += 1
  const mine = drawings
  // Also in a page that is open: of a second mail only what stands behind `#` is new.
  takeToken()
  const isSignedIn = await doorstep.isSignedIn()
  const linked = location.hash === '' ? linkedView(location.pathname, isSignedIn) : undefined
  const slow = setTimeout(() => mine === drawings && show(waiting), 300)
  try {
    const view = linked ?? (await viewAt(location.hash, isSignedIn))
    // Meanwhile somebody has gone on.
    if (mine !== drawings) return
    drawFrame(isSignedIn)
    if (view === null) go(isSignedIn ? '#factors' : '', { replace: true })
    else show(view)
  } catch (error) {
    if (mine !== drawings) return
    if (await doorstep.isSignedIn()) show(failed(error))
    else go('', { replace: true })
  } finally {
    clearTimeout(slow)
  }
}

/** Could not be read: offline, for one. It is tried again when the service said, or the network is back. */
const failed =
  (error: unknown): View =>
  (ended) => {
    const { again } = words()
    addEventListener('online', () => redraw(), { signal: ended })
    const isBusy = error instanceof DoorstepError && error.retryAfter !== undefined
    const box = problemBox(error, ended, () => isBusy && redraw())
    return { body: [card('h1', again.title, box), make('p', {}, linkTo(location.hash as Place, again.retry))] }
  }

doorstep.onSession(({ isSignedIn, error }) => {
  if (isSignedIn) return
  begun.forget()
  document.querySelector('dialog')?.close()
  const { problems, signIn: text } = words()
  leaveNote(error instanceof DoorstepError ? (problems.byCode[error.code] ?? text.ended) : text.ended)
  go('', { replace: true })
})

drawBy(draw)
openInbox()
void draw()
