import type pg from 'pg'
import { passkey } from '../../src/features/factors/passkey/index.ts'
import { totp } from '../../src/features/factors/totp/index.ts'
import { fromBase32 } from '../../src/security/base32.ts'
import { createPhoneNumbers } from '../../src/security/phone-number.ts'
import { hotp, newSecret } from '../../src/security/totp.ts'
import type { createServices } from '../../src/services.ts'
import type { FactorOwner } from '../../src/store/accounts.ts'
import type { NewFactor } from '../../src/store/factors.ts'
import { systemClock } from '../../src/system.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'

/** What a user of the bench has as its second factor. */
export type Kind = 'sms' | 'totp' | 'passkey'

/** `proofOf`: what finishes a challenge of this user's at this moment, as the body of the second step. */
export type User = { email: string; address: string; owner: FactorOwner; proofOf: (challengeId: string) => object }

type Services = Awaited<ReturnType<typeof createServices>>

/** A factor that is to be stored, and how its user proves it. */
type Made = { factor: Omit<NewFactor, 'name'>; proofOf: User['proofOf'] }

/** Users straight into the tables: the same password, each a second factor and an address of its own. */
export async function createUsers(
  sql: pg.Pool,
  services: Services,
  { kind, passwordHash, count }: { kind: Kind; passwordHash: string; count: number },
): Promise<User[]> {
  const { rows } = await sql.query<FactorOwner>(
    `INSERT INTO users (email, password_hash)
     SELECT 'bench-' || $1 || '-' || n || '@example.com', $2 FROM generate_series(1, $3) AS n
     RETURNING id, email, false AS email_confirmed, locale, two_factor, epoch, base64url(handle) AS user_handle, 0 AS recovery_codes`,
    [kind, passwordHash, count],
  )
  const phones = kind === 'sms' ? fictionalPhones(count) : []
  const users: User[] = []
  const stored: object[] = []
  for (const [n, owner] of rows.entries()) {
    const { factor, proofOf } = await makers[kind](services, owner, phones[n] ?? '')
    stored.push({ ...factor, user_id: owner.id })
    const { id, method, data, phone = null, credential_id: hex = null } = factor
    const credential_id = hex && Buffer.from(hex, 'hex').toString('base64url')
    const used = { counter: 0, created_at: 0, last_used_at: null }
    const factors = [{ id, method, name: null, phone, credential_id, data: { ...data }, ...used }]
    // RFC 2544 keeps 198.18.0.0/15 free for benchmarks. Neighbours in the list share no /24.
    users.push({ email: owner.email, address: `198.18.${n & 255}.${n >> 8}`, owner: { ...owner, factors }, proofOf })
  }
  await sql.query(
    `INSERT INTO factors (id, user_id, method, phone, credential_id, data)
     SELECT id, user_id, method, phone, decode(credential_id, 'hex'), data
     FROM jsonb_to_recordset($1) AS made(id uuid, user_id uuid, method text, phone text, credential_id text, data jsonb)`,
    [JSON.stringify(stored)],
  )
  return users
}

const makers: Record<Kind, (services: Services, owner: FactorOwner, phone: string) => Promise<Made>> = {
  sms: async ({ random, oneTimeCodes, secrets }, _owner, phone) => ({
    factor: { id: random.uuid(), method: 'sms', at_most: 1, phone, data: {} },
    proofOf: (challengeId) => ({
      code: oneTimeCodes.again({ challengeId, method: 'sms' }, secrets.current('code').id),
    }),
  }),

  totp: async (services, owner) => {
    const secret = newSecret(services.random)
    const shown = () => hotp(fromBase32(secret), Math.floor(systemClock.nowMs() / 30_000))
    return { factor: await proven(services, totp, owner, { secret }, shown), proofOf: () => ({ code: shown() }) }
  },

  passkey: async (services, owner) => {
    const { passkeys, config } = services
    const authenticator = createAuthenticator({ origin: config.passkey.origins[0] ?? '' })
    const user = { handle: owner.user_handle, name: owner.email, displayName: owner.email }
    const response = () => authenticator.register(passkeys.creationOptions({ cid: owner.id, user, exclude: [] }))
    const factor = await proven(services, passkey, owner, {}, response)
    const asked = (cid: string) =>
      passkeys.requestOptions({ challenge: passkeys.challengeOf(cid), allow: [], userVerification: 'preferred' })
    return { factor, proofOf: (cid) => ({ credential: authenticator.assert(asked(cid)) }) }
  },
}

/** The factor that an enrolment with this proof would store. */
async function proven(
  services: Services,
  kind: typeof totp,
  owner: FactorOwner,
  own: { secret?: string },
  proof: () => unknown,
): Promise<NewFactor> {
  const setUp = { id: services.random.uuid(), method: kind.method, name: null, ...own }
  const whose = { challengeId: owner.id, userId: owner.id, purpose: 'enrol' as const, userHandle: owner.user_handle }
  const verdict = await kind.judge?.(services, { ...whose, factors: [], setUp }, proof())
  if (!verdict?.right || verdict.new_factor === undefined) throw new Error(`a ${kind.method} could not be prepared`)
  return verdict.new_factor
}

/** North American numbers kept free for fiction (555-0100 to 555-0199); neighbours in the list share no number prefix. */
function fictionalPhones(count: number): string[] {
  const { parse } = createPhoneNumbers({ allowedCountries: ['US'] })
  const isAreaCode = (area: number): boolean => {
    try {
      return parse(`+1${area}5550100`) !== ''
    } catch {
      return false
    }
  }
  const areas = Array.from({ length: 800 }, (_, n) => 200 + n).filter(isAreaCode)
  if (areas.length * 100 < count) throw new Error(`there are only ${areas.length * 100} fictional numbers`)
  return Array.from({ length: count }, (_, n) => {
    const line = String(Math.floor(n / areas.length)).padStart(2, '0')
    return `+1${areas[n % areas.length]}55501${line}`
  })
}
