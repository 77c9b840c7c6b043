import { Problem } from '../../../errors.ts'
import { maskEmail } from '../../../security/masked-email.ts'
import { sendMail } from '../../mails/send-mail.ts'
import type { Factor } from '../factor.ts'
import { codeForm, issueCode, readCode, sentCode } from '../sent-code.ts'

/** How long the mail server may keep a reply waiting. */
const patienceMs = 3_000

/** A code by mail: the proof of a mailbox, and a fallback next to a factor. */
export const email: Factor = {
  method: 'email',
  traits: {
    ...{ judged_by: 'code', guarded: true, sends: 'mail', any_time: false, may_trust: false },
    ...{ steps_up: false, tells: true, at_most: 1, amr: ['pwd', 'eml'], acr: 'aal1' },
  },
  setUp: null,

  message: (services, context) => {
    const { email: address, locale } = context.owner
    return {
      code: issueCode(services, context, 'email'),
      may_send: services.mail.isAvailable(),
      mail: { address, locale, ...services.challengeRules.mailBudget() },
    }
  },

  send: async (services, { messageId }) => {
    const delivery = await sendMail(services, messageId, { withinMs: patienceMs })
    if (delivery !== 'failed') return { delivery }
    return { problem: new Problem('mail_unavailable', { retryAfter: 30 }), left: null }
  },

  describe: (services, { owner }, state) => ({
    method: 'email',
    channel: 'email',
    destination: maskEmail(owner.email),
    ...sentCode(services, state),
  }),

  read: (services, binding, answer) => readCode(services, binding, 'email', answer),
  form: codeForm,
  judge: null,
  view: () => ({}),
}
