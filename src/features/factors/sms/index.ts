import { invalidField } from '../../../errors.ts'
import { sendCode } from '../../sms-codes/send-code.ts'
import type { ChallengeContext, Factor } from '../factor.ts'
import { codeForm, issueCode, readCode, sentCode } from '../sent-code.ts'

const phoneOf = ({ setUp, owner }: ChallengeContext): string => {
  const phone = setUp?.phone ?? owner.factors.find((it) => it.method === 'sms')?.phone
  if (phone == null) throw new Error('A challenge by text without a phone')
  return phone
}

/** A code by text, to a number that the user has proven to hold. */
export const sms: Factor = {
  method: 'sms',
  traits: {
    ...{ judged_by: 'code', guarded: true, sends: 'sms', any_time: false, may_trust: true, steps_up: true },
    ...{ tells: false, at_most: 1, amr: ['pwd', 'sms', 'mfa'], acr: 'aal2' },
  },

  setUp: ({ phoneNumbers }, { phone }) => {
    if (phone === undefined) throw invalidField('/phone', 'is missing')
    return { phone: phoneNumbers.parse(phone) }
  },

  message: (services, context) => {
    const { challengeRules, phoneNumbers, sms: sender } = services
    const phone = phoneOf(context)
    return {
      code: issueCode(services, context, 'sms'),
      may_send: phoneNumbers.isAllowed(phone) && sender.isAvailable(),
      text: { ...challengeRules.textBudget(context.caller.address), phone },
    }
  },

  assertSendable: ({ phoneNumbers }, context) => phoneNumbers.assertAllowed(phoneOf(context)),

  send: async (services, { messageId, state, leaves, ...context }) => {
    const { owner, caller, challengeId } = context
    if (state.code === null) throw new Error('A text is due without a code')
    const text = { messageId, userId: owner.id, phone: phoneOf(context), caller }
    return sendCode(services, { ...text, challengeId, code: state.code, leaves })
  },

  describe: (services, context, state) => ({
    method: 'sms',
    channel: 'sms',
    destination: services.phoneNumbers.mask(phoneOf(context)),
    ...sentCode(services, state),
  }),

  read: (services, binding, answer) => readCode(services, binding, 'sms', answer),
  form: codeForm,
  judge: null,
  view: ({ phoneNumbers }, { phone }) => (phone === null ? {} : { destination: phoneNumbers.mask(phone) }),
}
