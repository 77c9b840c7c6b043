import { factorMethods, type Method, usableMethods } from '../../methods.ts'
import type { Services } from '../../services.ts'
import type { FactorOwner } from '../../store/accounts.ts'
import type { ChallengePolicy } from '../../store/candidates.ts'
import type { FactorTraits, JudgingTraits } from '../../store/factors.ts'
import { email } from './email/index.ts'
import type { Factor } from './factor.ts'
import { passkey } from './passkey/index.ts'
import { recoveryCode } from './recovery-code/index.ts'
import { sms } from './sms/index.ts'
import { totp } from './totp/index.ts'

type Settings = Pick<Services, 'config'>

/** In order of preference. */
export const factors: readonly Factor[] = [passkey, totp, sms, email, recoveryCode]

const byMethod = Object.fromEntries(factors.map((factor) => [factor.method, factor])) as Record<Method, Factor>

export const factorOf = (method: Method): Factor => byMethod[method]

/** What the decisions have to know of the methods. */
export const traits = Object.fromEntries(factors.map((it) => [it.method, it.traits])) as Record<Method, FactorTraits>

/** What of that an answer is judged by. */
export const judgingTraits = Object.fromEntries(
  factors.map(({ method, traits: { judged_by, any_time, may_trust, tells, amr, acr } }) => [
    method,
    { judged_by, any_time, may_trust, tells, amr, acr },
  ]),
) as Record<Method, JudgingTraits>

const guarded = factors.filter((it) => it.traits.guarded).map(({ method }) => method)

/** The methods that count as a second factor here: only they are asked for, and only they can be enrolled. */
const listedFactors = ({ config }: Settings): Method[] => factorMethods.filter((it) => config.methods.includes(it))

/** What challenges are decided by. */
export const policyOf = (services: Pick<Services, 'challengeRules' | 'config'>): ChallengePolicy =>
  services.challengeRules.policy({ guarded, factors: listedFactors(services) })

/** What a user can set up with a proof, best first. */
export const enrollable = (services: Settings): Method[] =>
  listedFactors(services).filter((it) => factorOf(it).setUp !== null)

/**
 * What can finish a login of this user, best first; nothing without a factor that METHODS lists. The mailbox that has set the
 * password is no second proof.
 */
export function loginMethods({ config }: Settings, owner: FactorOwner): Method[] {
  const enrolled = owner.factors.map(({ method }): Method => method)
  const all: Method[] = owner.recovery_codes > 0 ? [...enrolled, 'recovery_code'] : enrolled
  const canMail = config.mail.provider !== 'none' && !owner.email_codes_off
  return usableMethods(all, owner.email_confirmed, config.methods).filter(
    (it) => canMail || traits[it].sends !== 'mail',
  )
}

/** What can finish a step-up of this user, best first. */
export const stepUpMethods = (services: Settings, owner: FactorOwner): Method[] =>
  loginMethods(services, owner).filter((it) => traits[it].steps_up)

/** What proves that somebody reads the mailbox of the account; nothing where no mail is sent. */
export const mailboxMethods = ({ config }: Settings): Method[] => (config.mail.provider === 'none' ? [] : ['email'])

/** Whether the account has a factor that is asked for. */
export const hasFactor = ({ config }: Settings, methods: readonly Method[]): boolean =>
  usableMethods(methods, false, config.methods).length > 0
