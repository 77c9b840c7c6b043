import type { Problem } from '../../errors.ts'
import type { Caller } from '../../events.ts'
import type { Method } from '../../methods.ts'
import type { Services } from '../../services.ts'
import type { Delivery } from '../../sms/index.ts'
import type { FactorOwner } from '../../store/accounts.ts'
import type { Candidate } from '../../store/candidates.ts'
import type { ChallengeState, Purpose } from '../../store/challenges.ts'
import type { FactorTraits, StoredFactor, Verdict } from '../../store/factors.ts'
import type { Leaving } from '../../store/messages.ts'
import type { Challenge } from './challenge-schemas.ts'
import type { FactorView } from './schemas.ts'

/** What the methods take between them; each says what of it. */
export type FactorServices = Pick<
  Services,
  | ('config' | 'clock' | 'random' | 'store' | 'events' | 'background' | 'log')
  | ('oneTimeCodes' | 'challengeRules' | 'phoneNumbers' | 'sms' | 'mail' | 'mailBell' | 'mailLinks' | 'linkRules')
  | ('sealer' | 'passkeys' | 'recoveryCodes')
>

/** A factor that is being set up, as it is sealed into its challenge. `phone`, `secret`: what its method needs. */
export type SetUp = { id: string; method: Method; name: string | null; phone?: string; secret?: string }

/** What a new factor is made from; nothing in it was judged but its form. */
export type SetUpInput = { name?: string | undefined; phone?: string | undefined }

/** What a typed code or a credential is bound to. */
export type Binding = { challengeId: string; userId: string; purpose: Purpose }

/** A challenge, as far as its methods have to know of it. `setUp`: of the factor that an enrolment is to prove. */
export type ChallengeContext = {
  challengeId: string
  purpose: Purpose
  owner: FactorOwner
  setUp: SetUp | null
  caller: Caller
}

/** What somebody answers with: what was typed, or what a browser made. */
export type Answer = { code?: string | undefined; credential?: unknown }

/** What a proof is judged against by the service itself. */
export type Evidence = Binding & { userHandle: string; factors: StoredFactor[]; setUp: SetUp | null }

/** What a method sends, and by what it is counted. */
export type Message = Pick<Candidate, 'code' | 'may_send' | 'text' | 'mail'>

/**
 * A message that is reserved and committed, about to be sent. `leaves`: what the challenge goes on with where it certainly
 * does not go.
 */
export type DueMessage = ChallengeContext & { messageId: number; state: ChallengeState; leaves: Leaving | null }

/** How it went, or why it certainly did not go, and the challenge if that has gone on with another method since. */
export type Sent = { delivery: Delivery } | { problem: Problem; left: ChallengeState | null }

/** One kind of second factor: how it is set up, begun, read and judged. Nothing outside its folder names it. */
export type Factor = {
  method: Method
  traits: FactorTraits

  /**
   * Begins an enrolment: what of the factor is sealed into the challenge. Null where a method cannot be enrolled by a
   * proof. Throws `invalid_request`, `phone_not_allowed`.
   */
  setUp: ((services: FactorServices, input: SetUpInput) => Pick<SetUp, 'phone' | 'secret'>) | null

  /** What is to be sent, and where; null where nothing is. */
  message: ((services: FactorServices, context: ChallengeContext) => Message) | null

  /** Sends what was reserved, after the commit; what is known of it after 3 s at most. */
  send: ((services: FactorServices, due: DueMessage) => Promise<Sent>) | null

  /** Throws why nothing can be sent to this user at all, where that is so. */
  assertSendable?(services: FactorServices, context: ChallengeContext): void

  /** Its part of an answer, with `setup` in an enrolment. */
  describe(services: FactorServices, context: ChallengeContext, state: ChallengeState): Challenge

  /** What the decision compares, or `judge` judges; null where the answer has not the form of this method. */
  read(services: FactorServices, binding: Binding, answer: Answer): unknown

  /** The form that `read` wants, for people. */
  form(services: FactorServices): { pointer: string; message: string }

  /** Of a method that only the service can judge: whether what was read is proof. */
  judge: ((services: FactorServices, evidence: Evidence, read: unknown) => Promise<Verdict>) | null

  /** What `GET /factors` shows besides what all have. */
  view(services: FactorServices, factor: StoredFactor): Pick<FactorView, 'destination' | 'credential_id' | 'backed_up'>
}
