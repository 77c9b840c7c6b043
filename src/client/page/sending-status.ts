import type { Challenge, ChallengeStatus, TwoFactorRequired } from '../index.ts'
import { action } from './action.ts'
import { clockOf, countDown } from './countdown.ts'
import { announce, make } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { words } from './words/index.ts'

type SentChallenge = Extract<Challenge, { resend_after: number | null }>
type Around = { ended: AbortSignal; change: (status: ChallengeStatus) => void }

/** How often, and how many times, the page asks what became of a message. */
const askEveryMs = 4_000
const askTimes = 15

/** What became of a code that was sent, how long it works, how many tries are left, and when it can be sent again. */
export function sendingStatus(login: TwoFactorRequired, challenge: SentChallenge, { ended, change }: Around): Node[] {
  const { challenge: text } = words()
  const place = make('div')
  const delivery = make('span', {}, text.delivery[challenge.delivery])
  const life = make('span')
  const tries = make('span', { class: 'tries' }, text.triesLeft(challenge.attempts_remaining))
  countDown(challenge.code_expires_in, ended, (left) => {
    life.textContent = left > 0 ? text.worksFor(clockOf(left)) : text.ranOut
  })
  followDelivery(login, challenge, ended, (now) => {
    delivery.textContent = text.delivery[now.delivery]
    announce(text.delivery[now.delivery])
    if (now.delivery === 'failed') change({ challenge: now, methods: login.methods })
  })
  const status = make('p', { class: 'soft' }, delivery, ' ', life, ' ', tries)
  if (challenge.resend_after === null) return [status, make('p', { class: 'soft' }, text.noResend)]
  const again = action(text.resend, { look: 'quiet', place, ended }, async () => {
    change(await doorstep.resend(login))
    announce(text.resent)
  })
  countDown(challenge.resend_after, ended, (left) => {
    again.textContent = left > 0 ? text.resendIn(left) : text.resend
    again.ariaDisabled = left > 0 ? 'true' : null
  })
  return [status, again, place]
}

/** Asks until it has arrived or failed, or for a minute. */
function followDelivery(
  login: TwoFactorRequired,
  { delivery }: SentChallenge,
  ended: AbortSignal,
  tell: (now: SentChallenge) => void,
): void {
  let [known, asked] = [delivery, 0]
  const ask = async (): Promise<void> => {
    asked += 1
    if (asked > askTimes || known === 'delivered' || known === 'failed') return clearInterval(timer)
    const { challenge } = await doorstep.challengeStatus(login)
    if (ended.aborted || challenge === null || !('delivery' in challenge) || challenge.delivery === known) return
    known = challenge.delivery
    tell(challenge)
  }
  // What goes wrong here is of no matter: the code may have come all the same.
  const timer = setInterval(() => void ask().catch(() => {}), askEveryMs)
  ended.addEventListener('abort', () => clearInterval(timer))
}
