import { invalidField } from '../../errors.ts'
import type { Caller } from '../../events.ts'
import type { Method } from '../../methods.ts'
import type { ChallengeClaims } from '../../security/claims.ts'
import type { Answered, Proof } from '../../store/challenges.ts'
import type { NewFactor, Verdict } from '../../store/factors.ts'
import type { Answer, Binding, FactorServices, SetUp } from './factor.ts'
import { factorOf, factors, judgingTraits, traits } from './index.ts'
import { readChallenge } from './read-challenge.ts'
import { openSetUp } from './set-up.ts'

/** An answer as each method reads it, null where it has not its form; and the factor that it is to prove, in an enrolment. */
export type Readings = { byMethod: Record<Method, unknown>; setUp: SetUp | null }

const bindingOf = ({ cid, sub, pur }: ChallengeClaims): Binding => ({ challengeId: cid, userId: sub, purpose: pur })

/**
 * Reads an answer before it is known which method it is for. What the token is for binds it, not what is stored: a code
 * that was made for something else is wrong here (SEC-46). Throws `invalid_request`; in an enrolment `invalid_token`.
 */
export async function readAnswer(
  services: FactorServices,
  pending: ChallengeClaims,
  answer: Answer & { caller: Caller },
): Promise<Readings> {
  if ((answer.code === undefined) === (answer.credential === undefined)) {
    throw invalidField('/code', 'must be there, or `credential`, and not both')
  }
  const readings = factors.map(({ method, read }) => [method, read(services, bindingOf(pending), answer)])
  const isEnrolment = pending.pur === 'enrol'
  const setUp = isEnrolment ? (await readChallenge(services, pending, answer.caller)).context.setUp : null
  return { byMethod: Object.fromEntries(readings) as Record<Method, unknown>, setUp }
}

/** What the decision is asked with. */
export function proofOf(
  { byMethod, setUp }: Readings,
  rest: Pick<Proof, 'method' | 'fresh_recovery' | 'next_id'>,
): Proof {
  const readBy = (judgedBy: string) =>
    factors.filter(({ method }) => traits[method].judged_by === judgedBy && byMethod[method] !== null)
  // Without a name it is an answer to what the challenge goes on with, which is known only there.
  const named = factors.filter(({ method }) =>
    rest.method === null ? byMethod[method] !== null : method === rest.method,
  )
  const newFactor = setUp !== null && traits[setUp.method].judged_by === 'code' && newFactorOf(setUp)
  return {
    ...rest,
    codes: Object.fromEntries(readBy('code').map(({ method }) => [method, byMethod[method]])),
    recovery: readBy('recovery').flatMap(({ method }) => byMethod[method] as string[]),
    traits: Object.fromEntries(named.map(({ method }) => [method, judgingTraits[method]])),
    ...(newFactor && { new_factor: newFactor }),
  }
}

/** A factor that a sent code proves. */
const newFactorOf = ({ id, method, name, phone }: SetUp): NewFactor => ({
  ...{ id, method, name, data: {}, at_most: traits[method].at_most },
  ...(phone !== undefined && { phone }),
})

/** The service's verdict on an answer that the decision cannot judge; null where the answer has not the method's form. */
export async function judge(
  services: FactorServices,
  pending: ChallengeClaims,
  { byMethod }: Readings,
  needed: Extract<Answered, { outcome: 'needs_verdict' }>,
): Promise<Verdict | null> {
  const { method, factors: stored, user } = needed
  const read = byMethod[method]
  const judge = factorOf(method).judge
  if (read === null || judge === null) return null
  const setUp = openSetUp(services, pending.sub, pending.cid, needed.setup)
  return judge(services, { ...bindingOf(pending), userHandle: user.user_handle, factors: stored, setUp }, read)
}
