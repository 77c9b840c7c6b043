import { createHmac } from 'node:crypto'
import pg from 'pg'
import type { Config } from '../../src/config.ts'
import { newDevice } from '../../src/features/devices/new-device.ts'
import { policyOf } from '../../src/features/factors/index.ts'
import { newSession } from '../../src/features/sessions/start-session.ts'
import { passwordLevel } from '../../src/security/assurance.ts'
import { createChallengeRules } from '../../src/security/challenge.ts'
import { createDeviceTokens } from '../../src/security/device-token.ts'
import { createOneTimeCodes } from '../../src/security/one-time-code.ts'
import { createPasswordHash } from '../../src/security/password-hash.ts'
import { createPhoneNumbers } from '../../src/security/phone-number.ts'
import { createRefreshTokens } from '../../src/security/refresh-token.ts'
import { createSecrets } from '../../src/security/secrets.ts'
import { createTokens, tokenKinds } from '../../src/security/tokens.ts'
import type { Candidate } from '../../src/store/candidates.ts'
import type { Purpose } from '../../src/store/challenges.ts'
import { createDatabase } from '../../src/store/client.ts'
import { createStore } from '../../src/store/index.ts'
import { systemClock, systemRandom } from '../../src/system.ts'
import { drive, expectOk, get, type Operation, post } from './load.ts'

export const password = 'correct horse battery staple'

const purpose: Purpose = 'login'
/** Challenges prepared at the same time. */
const preparedAtOnce = 8

type User = { id: string; email: string; phone: string; address: string }

export type Supply = Awaited<ReturnType<typeof createSupply>>

/**
 * What callers of a running Doorstep need: `count` users, each with a fictional phone, a network address and the right
 * password. It knows the service's secrets, so it can make pending tokens and codes without the cost of a password.
 */
export async function createSupply({ url, config, count }: { url: string; config: Config; count: number }) {
  const sql = new pg.Pool({ connectionString: url, max: 1 })
  sql.on('error', () => {})
  const passwordHash = await (await createPasswordHash(config.argon2)).hash(password)
  const users = await createUsers(sql, passwordHash, count)
  let isGrown = false
  let used = 0
  const nextUser = (): User => users[used++ % users.length] as User

  const secrets = createSecrets(config.secretKeys)
  const oneTimeCodes = createOneTimeCodes({ secrets, length: config.code.length })
  const refreshTokens = createRefreshTokens({ secrets })
  const challengeRules = createChallengeRules(config)
  const policy = policyOf({ challengeRules, config })
  const deviceTokens = createDeviceTokens({ secrets, random: systemRandom })
  const tokens = createTokens({
    config,
    clock: systemClock,
    random: systemRandom,
    sign: { pending, access: refuse, verifyAccess: refuse },
  })

  function pending(claims: object): string {
    const { id, key } = secrets.current('pending-token')
    const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url')
    const { algorithm: alg, typ } = tokenKinds.pending
    const signed = `${encode({ alg, typ, kid: id })}.${encode(claims)}`
    return `${signed}.${createHmac('sha256', key.toString('base64url')).update(signed).digest('base64url')}`
  }

  // What is prepared need not be durable, and is not what is measured.
  const quick = new URL(url)
  quick.searchParams.set('options', '-c synchronous_commit=off')
  const db = createDatabase({
    url: quick.toString(),
    poolSize: preparedAtOnce,
    isServer: true,
    patience: 10,
    onError: () => {},
  })
  const store = createStore(db)

  const loginRequest = ({ email, address }: User): string => post('/login', { email, password }, { address })
  const codeRequest = (user: User, token: string, code: string): string =>
    post('/login/2fa', { code }, { token, address: user.address })

  /** Opens a user's challenge as a right password does, but for the password. */
  async function openChallenge(user: User): Promise<string> {
    const challengeId = systemRandom.uuid()
    const { code, mac, keyId } = oneTimeCodes.issue({ challengeId, userId: user.id, purpose, method: 'sms' })
    const whose = { purpose, client: user.address, known: false, device_id: null, proves_mailbox: false } as const
    const byText: Candidate = {
      ...{ method: 'sms', in_cooldown: true, at_most: 1, sends: 'sms', may_send: true },
      code: { mac: mac.toString('hex'), key_id: keyId },
      text: { ...challengeRules.textBudget(user.address), phone: user.phone },
    }
    const { outcome } = await store.challenges.open(
      { id: user.id, epoch: 0 },
      [Buffer.from(user.id)],
      { id: challengeId, ...whose },
      [byText],
      policy,
      { type: 'login.challenged', outcome: 'opened' },
    )
    if (outcome !== 'opened') throw new Error(`a challenge could not be prepared: ${outcome}`)
    const login = {
      userId: user.id,
      challengeId,
      purpose,
      sessionId: undefined,
      rememberMe: false,
      returnTo: undefined,
    }
    const { pending_token } = tokens.pending({ ...login, expiresIn: config.tokens.pendingTtl })
    return codeRequest(user, pending_token, code)
  }

  /** Starts a session of the next user as a login does; the refresh token that it came with. */
  async function startSession(): Promise<string> {
    const { id, address } = nextUser()
    const caller = { requestId: systemRandom.uuid(), address, userAgent: null }
    const session = newSession({ random: systemRandom }, { level: passwordLevel, remember: true, caller })
    const event = { type: 'login.succeeded', outcome: session.acr, userId: id, caller } as const
    const proof = { throttleKeys: [Buffer.from(id)], deviceId: null, isTrusted: false }
    const { device } = newDevice({ random: systemRandom, deviceTokens }, { name: undefined, trust: false, caller })
    const { outcome } = await store.sessions.start({ id, epoch: 0 }, proof, { session, device, policy, event })
    if (outcome !== 'started') throw new Error(`a session could not be prepared: ${outcome}`)
    return refreshTokens.make({ sessionId: session.id, generation: 0 })
  }

  /** An access token of a live session of the service at `port`. */
  async function accessToken(port: number): Promise<string> {
    const refreshToken = await startSession()
    let token = ''
    const signIn: Operation = async (send) => {
      token = String(expectOk(await send(post('/token/refresh', { refresh_token: refreshToken }))).access_token)
    }
    await drive(port, { clients: 1, untilMs: 10_000, operations: 1 }, () => signIn)
    return token
  }

  async function prepare(requests: string[], wanted: number): Promise<void> {
    while (requests.length < wanted) requests.push(await openChallenge(nextUser()))
  }

  return {
    passwordHash,

    /** The first step of the next user. */
    login: (): Operation => {
      const request = loginRequest(nextUser())
      return async (send) => {
        const { status } = expectOk(await send(request))
        if (status !== '2fa_required') throw new Error(`/login answered ${status}`)
      }
    },

    /** `wanted` second steps, ready to be sent. */
    codes: async (wanted: number): Promise<() => Operation | undefined> => {
      const requests: string[] = []
      await Promise.all(Array.from({ length: preparedAtOnce }, () => prepare(requests, wanted)))
      return () => {
        const request = requests.pop()
        return request === undefined
          ? undefined
          : async (send) => {
              const { status } = expectOk(await send(request))
              if (status !== 'authenticated') throw new Error(`/login/2fa answered ${status}`)
            }
      }
    },

    /** Refreshes of `count` sessions in turn, each with the token that its last one gave. */
    refreshes: async (count: number): Promise<() => Operation> => {
      const tokens: string[] = []
      for (let made = 0; made < count; made += 1) tokens.push(await startSession())
      return () => {
        const token = tokens.shift()
        return async (send) => {
          const answer = expectOk(await send(post('/token/refresh', { refresh_token: token })))
          tokens.push(String(answer.refresh_token))
        }
      }
    },

    /** Introspections of a live session's access token. */
    introspections: async (port: number): Promise<() => Operation> => {
      const [client] = config.introspectionClients
      const basic = `${client?.id}:${client?.secret}`
      const request = post('/token/introspect', `token=${await accessToken(port)}`, { basic })
      return () => async (send) => {
        const { active } = expectOk(await send(request))
        if (active !== true) throw new Error('a live session is told to be over')
      }
    },

    /** Reads of the signed-in user. */
    reads: async (port: number): Promise<() => Operation> => {
      const request = get('/me', { token: await accessToken(port) })
      return () => async (send) => {
        const { id } = expectOk(await send(request))
        if (typeof id !== 'string') throw new Error('/me names nobody')
      }
    },

    /** Both steps of the next user, as one operation. */
    completeLogin: (): Operation => {
      const user = nextUser()
      return async (send) => {
        const { pending_token: token } = expectOk(await send(loginRequest(user)))
        const claims = JSON.parse(Buffer.from(String(token).split('.')[1] ?? '', 'base64url').toString())
        const code =
          oneTimeCodes.again({ challengeId: String(claims.cid), method: 'sms' }, secrets.current('code').id) ?? ''
        expectOk(await send(codeRequest(user, String(token), code)))
      }
    },

    /** Forgets every login of these users that was begun or done, so that every user can begin another one. */
    clear: async (): Promise<void> => {
      const tables = ['challenges', 'sms_messages', 'mails', 'factor_guards', 'devices', 'sessions', 'audit_events']
      if (isGrown) {
        for (const table of tables)
          await sql.query(`DELETE FROM ${table} WHERE user_id = ANY ($1)`, [users.map(({ id }) => id)])
        await sql.query(`DELETE FROM login_throttles WHERE ${isOurs}`)
      } else {
        await sql.query(`TRUNCATE ${[...tables, 'login_throttles'].join(', ')}`)
      }
    },

    /** Makes the database one that has been used for long: so many other users, texts of the last day, and counters. */
    grow: async (rows: number): Promise<void> => {
      isGrown = true
      for (const statement of growth) await sql.query(statement.replaceAll('$1', String(rows)))
    },

    close: async (): Promise<void> => {
      await db.close()
      await sql.end()
    },
  }
}

/** Counters of the bench's own users, among those of `growth`. */
const isOurs = 'octet_length(identifier) > 8'

/** Other people's rows, as they lie in the tables of a service that is in use. */
const growth = [
  `INSERT INTO users (email, password_hash) SELECT 'grown-' || n || '@example.com', 'none' FROM generate_series(1, $1) AS n`,
  `INSERT INTO factors (id, user_id, method, phone)
   SELECT gen_random_uuid(), id, 'sms', '+1999' || substring(email FROM '[0-9]+') FROM users WHERE email LIKE 'grown-%'`,
  `INSERT INTO login_throttles (identifier, failures, counted_from)
   SELECT int8send(n), 1, now() - random() * interval '40 hours' FROM generate_series(1, $1) AS n`,
  `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, reserved_at, state, delivery)
   SELECT gen_random_uuid(), gen_random_uuid(), false, '+1999' || n, '+1999' || n / 10000, '198.51.100.' || n % 256,
     now() - n * interval '24 hours' / $1, 'finished', 'delivered' FROM generate_series($1, 1, -1) AS n`,
  'VACUUM ANALYZE',
]

/** Users straight into the tables: the same password, each a phone and an address of its own. */
async function createUsers(sql: pg.Pool, passwordHash: string, count: number): Promise<User[]> {
  const phones = fictionalPhones(count)
  const { rows } = await sql.query<{ id: string; email: string; phone: string }>(
    `WITH list AS (SELECT gen_random_uuid() AS id, 'bench-' || n || '@example.com' AS email, phone
         FROM unnest($1::text[]) WITH ORDINALITY AS given(phone, n)),
       made AS (INSERT INTO users (id, email, password_hash) SELECT id, email, $2 FROM list),
       factor AS (INSERT INTO factors (id, user_id, method, phone) SELECT gen_random_uuid(), id, 'sms', phone FROM list)
     SELECT id, email, phone FROM list`,
    [phones, passwordHash],
  )
  // RFC 2544 keeps 198.18.0.0/15 free for benchmarks. Neighbours in the list share no /24.
  return rows.map((row, n) => ({ ...row, address: `198.18.${n & 255}.${n >> 8}` }))
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

function refuse(): never {
  throw new Error('the bench makes no access tokens')
}
