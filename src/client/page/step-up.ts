import { DoorstepError, type TwoFactorRequired } from '../index.ts'
import { challengeCard } from './challenge.ts'
import { dismissed } from './dismissed.ts'
import { button, make, say } from './dom.ts'
import { doorstep } from './doorstep.ts'
import { form, passwordField } from './form.ts'
import { problemBox } from './problem.ts'
import { focusOn } from './view.ts'
import { words } from './words/index.ts'

/**
 * Asks once more who it is, over whatever is shown (RFC 9470): a call wants a fresher proof than the session has. True when it was
 * given; the client then repeats that call, which knows nothing of it. Who closes the dialog ends the call with `dismissed`.
 */
export function stepUp(): Promise<boolean> {
  const { stepUp: text, cancel } = words()
  const ending = new AbortController()
  const host = make('div')
  const dialog: HTMLDialogElement = make(
    'dialog',
    { 'aria-label': text.title },
    ...[make('h2', { tabindex: -1 }, text.title), say(text.lead, 'soft'), host],
    button(cancel, () => dialog.close('no'), 'quiet wide'),
  )
  document.body.append(dialog)
  dialog.showModal()
  void ask(host, ending.signal, () => dialog.close('yes')).then(() => focusOn(host))
  return new Promise((resolve, reject) => {
    dialog.addEventListener('close', () => {
      ending.abort()
      dialog.remove()
      if (dialog.returnValue === 'yes') resolve(true)
      else reject(dismissed)
    })
  })
}

async function ask(host: HTMLElement, ended: AbortSignal, done: () => void): Promise<void> {
  try {
    const answer = await doorstep.stepUp()
    if (answer.status === 'authenticated') done()
    else host.replaceChildren(cardOf(answer, host, ended, done))
  } catch (error) {
    const wantsPassword = error instanceof DoorstepError && error.errors?.[0]?.pointer === '/password'
    host.replaceChildren(wantsPassword ? askForPassword(ended, done) : problemBox(error, ended))
  }
}

function cardOf(login: TwoFactorRequired, host: HTMLElement, ended: AbortSignal, done: () => void): HTMLElement {
  const onOver = (): void => void ask(host, ended, done).then(() => focusOn(host))
  return challengeCard(login, { ended, heading: 'h2', mayTrust: false, onAnswer: done, onOver })
}

/** An account without a second factor. */
function askForPassword(ended: AbortSignal, done: () => void): HTMLFormElement {
  const { signIn, challenge } = words()
  return form({
    fields: [passwordField('password', signIn.password, 'current-password')],
    submit: challenge.submit,
    ended,
    send: async ({ text: of }) => {
      await doorstep.stepUp({ password: of('password') })
      done()
    },
  })
}
