import { qrCode } from '../../../security/qr-code.ts'
import { matchingStep, newSecret, totpLength, uri } from '../../../security/totp.ts'
import { readDigits } from '../../../security/typed-code.ts'
import type { Evidence, Factor, FactorServices, SetUp } from '../factor.ts'

/** What the secret of a factor is sealed with: it opens for no other user and no other factor. */
const boundTo = (userId: string, factorId: string): string => `totp|${userId}|${factorId}`

/** The secret that a code must be made with, and the last step that one was used at. */
function secretOf({ sealer }: FactorServices, { userId, setUp, factors }: Evidence) {
  if (setUp?.secret !== undefined) return { secret: setUp.secret, lastStep: 0, factorId: undefined }
  const factor = factors.find((it) => it.method === 'totp')
  if (factor === undefined) return null
  const secret = sealer.open('totp', String(factor.data.secret), boundTo(userId, factor.id))
  if (typeof secret !== 'string') throw new Error('The key of an authenticator app is not in SECRET_KEYS')
  return { secret, lastStep: factor.counter, factorId: factor.id }
}

function shown({ config }: FactorServices, secret: string, account: string) {
  const link = uri({ secret, issuer: config.totpIssuer, account })
  return { secret, uri: link, qr: qrCode(link) }
}

const newFactor = ({ sealer }: FactorServices, userId: string, { id, name }: SetUp, secret: string, step: number) => ({
  id,
  method: 'totp' as const,
  name,
  counter: step,
  at_most: 1,
  data: { secret: sealSecret({ sealer }, { userId, id }, secret) },
})

/** The secret of an app, in base 32, as the factor `id` of that user keeps it. */
export const sealSecret = (
  { sealer }: Pick<FactorServices, 'sealer'>,
  { userId, id }: { userId: string; id: string },
  secret: string,
): string => sealer.seal('totp', secret, boundTo(userId, id))

/** An authenticator app (RFC 6238). A code works once: the step that it is of only rises. */
export const totp: Factor = {
  method: 'totp',
  traits: {
    ...{ judged_by: 'service', guarded: true, sends: null, any_time: true, may_trust: true, steps_up: true },
    ...{ tells: false, at_most: 1, amr: ['pwd', 'otp', 'mfa'], acr: 'aal2' },
  },
  setUp: ({ random }) => ({ secret: newSecret(random) }),
  message: null,
  send: null,

  describe: (services, { setUp, owner }, { attempts_remaining }) => ({
    method: 'totp',
    code_length: totpLength,
    attempts_remaining,
    ...(setUp?.secret !== undefined && { setup: shown(services, setUp.secret, owner.email) }),
  }),

  read: (_services, _binding, { code }) => (code === undefined ? null : readDigits(code, totpLength)),
  form: () => ({ pointer: '/code', message: `must be ${totpLength} digits` }),

  judge: async (services, evidence, read) => {
    const found = secretOf(services, evidence)
    if (found === null) return { right: false }
    const step = matchingStep(found.secret, String(read), services.clock.nowMs(), found.lastStep)
    if (step === null) return { right: false }
    const { setUp, userId } = evidence
    if (setUp !== null) return { right: true, new_factor: newFactor(services, userId, setUp, found.secret, step) }
    return { right: true, factor_id: found.factorId ?? '', counter: step, rises: true }
  },

  view: () => ({}),
}
