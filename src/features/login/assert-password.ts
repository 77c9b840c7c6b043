import { Problem } from '../../errors.ts'
import type { Caller, Event } from '../../events.ts'
import { widestNetworkOf } from '../../security/client-address.ts'
import type { Services } from '../../services.ts'
import type { Account } from '../../store/accounts.ts'
import type { LiveSession } from '../../store/sessions.ts'

/** What it takes to judge the password of somebody who is signed in. */
export type ProofServices = Pick<Services, 'store' | 'events' | 'passwordHash'>

/**
 * The account of a session, if this is its password. A wrong one is a failed proof: it counts in the account's counters of known
 * clients, and the fifth of a session within 24 hours ends that session. Whoever has waited in line meanwhile learns no more of
 * the password: the session is looked at before it is judged, and again by the decision that counts. Throws `invalid_password`,
 * `invalid_token`, `busy`.
 */
export async function assertPassword(
  { store, events, passwordHash }: ProofServices,
  session: LiveSession,
  { password, caller }: { password: string; caller: Caller },
): Promise<Account> {
  const live = await store.sessions.findLive(session.id, session.user_id)
  const account = live && (await store.accounts.findByEmail(live.email))
  if (account === null || account.id !== session.user_id) throw new Problem('invalid_token')
  const place = { known: true, network: widestNetworkOf(caller.address) }
  if (await passwordHash.verify(account.password_hash, password, place)) return account
  const about = { factor: 'password' as const, userId: session.user_id, caller }
  const event: Event = { type: 'password.failed', outcome: 'wrong', ...about }
  const { remaining, ended } = await store.sessions.failProof(session, event)
  if (remaining === null) throw new Problem('invalid_token')
  events.announce(event)
  const detail = `session ${session.id}`
  if (ended) events.announce({ type: 'session.ended', outcome: 'five failed proofs', ...about, detail })
  throw new Problem('invalid_password')
}
