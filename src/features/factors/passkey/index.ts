import type { AuthenticationLevel } from '../../../security/assurance.ts'
import type { PasskeyData, StoredPasskey } from '../../../security/passkey.ts'
import type { PasskeyOwner, StoredFactor, Verdict } from '../../../store/factors.ts'
import type { ChallengeContext, Evidence, Factor, FactorServices } from '../factor.ts'

/** A user's devices and password managers act as one method. */
const atMost = 10

const passkeysOf = (factors: readonly StoredFactor[]): (StoredFactor & StoredPasskey)[] =>
  factors.filter((it): it is StoredFactor & StoredPasskey => it.method === 'passkey' && it.credential_id !== null)

/** What a browser is asked for at a login: one of the user's own. */
function request({ passkeys }: FactorServices, { challengeId, owner }: ChallengeContext) {
  const allow = passkeysOf(owner.factors)
  return passkeys.requestOptions({ challenge: passkeys.challengeOf(challengeId), allow, userVerification: 'preferred' })
}

/** What a browser is asked for at an enrolment: a new one. */
function creation({ passkeys }: FactorServices, { challengeId, owner }: ChallengeContext) {
  const user = { handle: owner.user_handle, name: owner.email, displayName: owner.email }
  return passkeys.creationOptions({ cid: challengeId, user, exclude: passkeysOf(owner.factors) })
}

async function judgeNew({ passkeys }: FactorServices, evidence: Evidence, response: unknown): Promise<Verdict> {
  const { challengeId, setUp } = evidence
  const made = setUp && (await passkeys.verifyRegistration({ cid: challengeId, response }))
  if (!made || !setUp) return { right: false }
  const { amr, counter, data } = made
  const credential = { credential_id: made.credential_id.toString('hex'), counter, data }
  const { id, name } = setUp
  const new_factor = { id, method: 'passkey' as const, name, at_most: atMost, ...credential }
  return { right: true, amr: ['pwd', amr, 'mfa'], new_factor }
}

type Right = Extract<Verdict, { right: true }>

/** What is stored of a passkey's use, and how it was used; null where `response` is not its answer to a challenge. */
async function judgeUse(
  { passkeys }: Pick<FactorServices, 'passkeys'>,
  factor: StoredFactor,
  question: { challenges: Buffer[]; userHandle: string; requireVerification: boolean; response: unknown },
): Promise<{ verdict: Right; amr: string[] } | null> {
  const [credential] = passkeysOf([factor])
  const proven = credential && (await passkeys.verifyAssertion({ ...question, credential }))
  if (!proven) return null
  const { counter, backedUp, amr } = proven
  const data = { ...factor.data, backed_up: backedUp }
  const verdict = { right: true, factor_id: factor.id, counter, data, if_back: 'passkey.counter_back' } as const
  return { verdict, amr: [amr, 'mfa'] }
}

/** What a browser is asked for that signs in with nothing else: any passkey of this service, and who it is. */
export const signInOptions = ({ passkeys }: Pick<FactorServices, 'passkeys'>, challenge: Buffer) =>
  passkeys.requestOptions({ challenge, allow: [], userVerification: 'required' })

/** Whose passkey it is that has answered, and what that proves; null unless it is somebody's, and proves it. */
export async function judgeSignIn(
  services: Pick<FactorServices, 'passkeys' | 'store'>,
  challenge: Buffer,
  response: unknown,
): Promise<{ owner: PasskeyOwner; verdict: Right; level: AuthenticationLevel } | null> {
  const { id } = (response ?? {}) as { id?: unknown }
  if (typeof id !== 'string') return null
  const owner = await services.store.factors.findPasskey(Buffer.from(id, 'base64url'))
  if (owner === null) return null
  const question = { challenges: [challenge], userHandle: owner.user_handle, requireVerification: true, response }
  const used = await judgeUse(services, owner.factor, question)
  return used === null ? null : { owner, verdict: used.verdict, level: { amr: used.amr, acr: 'aal2' } }
}

/** A key of the user's device or password manager (WebAuthn). */
export const passkey: Factor = {
  method: 'passkey',
  traits: {
    ...{ judged_by: 'service', guarded: false, sends: null, any_time: false, may_trust: true },
    ...{ steps_up: true, tells: false, at_most: atMost, amr: ['pwd', 'hwk', 'mfa'], acr: 'aal2' },
  },
  setUp: () => ({}),
  message: null,
  send: null,

  describe: (services, context, { attempts_remaining }) => ({
    method: 'passkey',
    attempts_remaining,
    ...(context.setUp === null
      ? { public_key: request(services, context) }
      : { setup: { public_key: creation(services, context) } }),
  }),

  read: (_services, _binding, { credential }) => credential ?? null,
  form: () => ({ pointer: '/credential', message: 'must be what the browser made of `public_key`' }),

  judge: async (services, evidence, response) => {
    if (evidence.setUp !== null) return judgeNew(services, evidence, response)
    const { id } = response as { id?: unknown }
    const factor = passkeysOf(evidence.factors).find((it) => it.credential_id === id)
    if (factor === undefined) return { right: false }
    const { challengeId, userHandle } = evidence
    const challenges = services.passkeys.challengesOf(challengeId)
    const used = await judgeUse(services, factor, { challenges, userHandle, requireVerification: false, response })
    return used === null ? { right: false } : { ...used.verdict, amr: ['pwd', ...used.amr] }
  },

  view: (_services, { credential_id, data }) => ({
    ...(credential_id !== null && { credential_id }),
    backed_up: (data as PasskeyData).backed_up,
  }),
}
