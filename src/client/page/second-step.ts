import { DoorstepError, type TwoFactorRequired } from '../index.ts'
import { challengeCard } from './challenge.ts'
import { make } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { go, linkTo } from './go.ts'
import { begun, leaveNote, proceed } from './proceed.ts'
import type { View } from './view.ts'
import { words } from './words/index.ts'

const endLogin = (): void => {
  begun.forget()
  leaveNote(words().signIn.again)
}

/**
 * A login with the times and tries that it has now: they go by while another page is shown. Null where it is over. What
 * cannot be asked, offline for one, is as it was known last.
 */
export async function asItStands(login: TwoFactorRequired): Promise<TwoFactorRequired | null> {
  try {
    const { challenge, methods } = await doorstep.challengeStatus(login)
    return challenge === null ? login : { ...login, challenge, methods }
  } catch (error) {
    if (!(error instanceof DoorstepError && error.code === 'invalid_token')) return login
    endLogin()
    return null
  }
}

/** The second step of a login, or the first proof of a new factor. */
export const secondStep =
  (login: TwoFactorRequired): View =>
  (ended) => {
    const { challenge: text } = words()
    const onOver = (): void => {
      endLogin()
      go('', { replace: true })
    }
    const card = challengeCard(login, {
      ...{ ended, heading: 'h1', mayTrust: true, onOver },
      onAnswer: proceed,
      onChange: begun.keep,
    })
    return { body: [card, make('p', {}, linkTo('', text.startAgain))] }
  }
