import { createHmac } from 'node:crypto'
import pg from 'pg'
import type { Config } from '../../src/config.ts'
import { newDevice } from '../../src/features/devices/new-device.ts'
import { policyOf } from '../../src/features/factors/index.ts'
import { openChallenge } from '../../src/features/factors/open-challenge.ts'
import { newSession } from '../../src/features/sessions/start-session.ts'
import { createLog } from '../../src/log.ts'
import { passwordLevel } from '../../src/security/assurance.ts'
import { createTokens, tokenKinds } from '../../src/security/tokens.ts'
import { createServices } from '../../src/services.ts'
import { systemClock, systemRandom } from '../../src/system.ts'
import { drive, expectOk, get, type Operation, post } from './load.ts'
import { createUsers, type Kind, type User } from './users.ts'

export const password = 'correct horse battery staple'

/** Challenges prepared at the same time. */
const preparedAtOnce = 8

/** How many users prove themselves by something else than texts. */
const otherUsers = 2_000

export type Supply = Awaited<ReturnType<typeof createSupply>>

/**
 * What callers of a running Doorstep need: `count` users, each with a fictional phone, a network address and the right
 * password; and, once they are asked for, others with an authenticator app or a passkey. It knows the service's secrets, so it
 * can make pending tokens and proofs without the cost of a password.
 */
export async function createSupply({ url, config, count }: { url: string; config: Config; count: number }) {
  const sql = new pg.Pool({ connectionString: url, max: 1 })
  sql.on('error', () => {})
  // What is prepared need not be durable, and is not what is measured.
  const quick = new URL(url)
  quick.searchParams.set('options', '-c synchronous_commit=off')
  const services = await createServices({
    ...{ config, clock: systemClock, random: systemRandom, log: createLog('silent'), patience: 10 },
    database: { url: quick.toString(), connections: null },
  })
  const { store, secrets, deviceTokens, refreshTokens } = services
  const passwordHash = await services.passwordHash.hash(password)
  const users = await createUsers(sql, services, { kind: 'sms', passwordHash, count })
  const groups = new Map<Kind, User[]>([['sms', users]])
  let isGrown = false
  let used = 0
  const nextUser = (): User => users[used++ % users.length] as User

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

  async function usersOf(kind: Kind): Promise<User[]> {
    const group = groups.get(kind) ?? (await createUsers(sql, services, { kind, passwordHash, count: otherUsers }))
    groups.set(kind, group)
    return group
  }

  const loginRequest = ({ email, address }: User): string => post('/login', { email, password }, { address })
  const proofRequest = ({ address, proofOf }: User, token: string, challengeId: string): string =>
    post('/login/2fa', proofOf(challengeId), { token, address })

  /** Opens a user's challenge as a right password does, but for the password; the request that finishes it. */
  async function openedLogin(user: User, kind: Kind): Promise<() => string> {
    const { owner, address } = user
    const login = { rememberMe: false, returnTo: undefined, sessionId: undefined, purpose: 'login' as const }
    const { context } = await openChallenge(services, {
      ...{ ...login, owner, methods: [kind], provesMailbox: false, known: false, deviceId: null },
      ...{ throttleKeys: [Buffer.from(owner.id)], caller: callerAt(address) },
    })
    const { challengeId } = context
    const proven = { ...login, userId: owner.id, challengeId, expiresIn: config.tokens.pendingTtl }
    const { pending_token: token } = tokens.pending(proven)
    return () => proofRequest(user, token, challengeId)
  }

  /** Starts a session of the next user as a login does; the refresh token that it came with. */
  async function startSession(): Promise<string> {
    const { owner, address } = nextUser()
    const caller = callerAt(address)
    const session = newSession(services, { level: passwordLevel, remember: true, caller })
    const event = { type: 'session.started', outcome: session.acr, userId: owner.id, caller } as const
    const proof = { throttleKeys: [Buffer.from(owner.id)], deviceId: null, isTrusted: false }
    const { device } = newDevice({ random: systemRandom, deviceTokens }, { name: undefined, trust: false, caller })
    const policy = policyOf(services)
    const { outcome } = await store.sessions.start(owner, proof, { session, device, policy, event })
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

    /** `wanted` second steps, ready to be sent; of the other kinds one for each user at most. */
    proofs: async (kind: Kind, wanted: number): Promise<() => Operation | undefined> => {
      const group = await usersOf(kind)
      const whose = kind === 'sms' ? Array.from({ length: wanted }, nextUser) : group.slice(0, wanted)
      const requests: (() => string)[] = []
      const prepare = async (): Promise<void> => {
        for (let user = whose.pop(); user !== undefined; user = whose.pop())
          requests.push(await openedLogin(user, kind))
      }
      await Promise.all(Array.from({ length: preparedAtOnce }, prepare))
      return () => {
        const request = requests.pop()
        return (
          request &&
          (async (send) => {
            const { status } = expectOk(await send(request()))
            if (status !== 'authenticated') throw new Error(`/login/2fa answered ${status}`)
          })
        )
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
        expectOk(await send(proofRequest(user, String(token), String(claims.cid))))
      }
    },

    /** Forgets every login of these users that was begun or done, so that every user can begin another one. */
    clear: async (): Promise<void> => {
      const tables = [
        ...[
          'challenges',
          'sms_messages',
          'mails',
          'mail_links',
          'factor_guards',
          'devices',
          'sessions',
          'audit_events',
        ],
      ]
      if (isGrown) {
        const ids = [...groups.values()].flat().map(({ owner }) => owner.id)
        for (const table of tables) await sql.query(`DELETE FROM ${table} WHERE user_id = ANY ($1)`, [ids])
        await sql.query(`DELETE FROM login_throttles WHERE ${isOurs}`)
      } else {
        await sql.query(`TRUNCATE ${[...tables, 'challenge_codes', 'login_throttles'].join(', ')}`)
      }
      // Each code of an app works once, and half a minute may not have passed.
      if (groups.has('totp')) await sql.query(`UPDATE factors SET counter = 0 WHERE method = 'totp'`)
    },

    /** Makes the database one that has been used for long: so many other users, each with what it has left there. */
    grow: async (rows: number): Promise<void> => {
      isGrown = true
      for (const statement of growth) await sql.query(statement.replaceAll('$1', String(rows)))
    },

    close: async (): Promise<void> => {
      await services.close()
      await sql.end()
    },
  }
}

/** Counters of the bench's own users, among those of `growth`. */
const isOurs = 'octet_length(identifier) > 8'

/** Other people's rows, as they lie in the tables of a service that is in use. */
const growth = [
  `WITH grown AS (
     INSERT INTO users (email, password_hash) SELECT 'grown-' || n || '@example.com', 'none' FROM generate_series(1, $1) AS n
     RETURNING id)
   INSERT INTO factors (id, user_id, method, phone) SELECT id, id, 'sms', '+1999' || row_number() OVER () FROM grown`,
  `INSERT INTO devices (id, user_id, token_hash, last_used_at, expires_at)
   SELECT id, id, uuid_send(id), now(), now() + interval '90 days' FROM users WHERE email LIKE 'grown-%'`,
  `INSERT INTO sessions (id, user_id, device_id, amr, acr, authenticated_at, last_used_at, idle_until, expires_at)
   SELECT id, id, id, '{pwd,sms,mfa}', 'aal2', now(), now(), now() + interval '12 hours', now() + interval '12 hours'
   FROM users WHERE email LIKE 'grown-%'`,
  `INSERT INTO mails (user_id, kind, topic, address, locale, created_at, next_try_at, state, delivery)
   SELECT id, 'notice', 'device.new', email, 'en', now() - random() * interval '167 hours', now() - interval '168 hours',
     'open', 'sent' FROM users WHERE email LIKE 'grown-%'`,
  `INSERT INTO mail_links (token_hash, kind, email, user_id, created_at, expires_at)
   SELECT uuid_send(id), 'not_me', email, id, now(), now() + interval '168 hours' FROM users WHERE email LIKE 'grown-%'`,
  `INSERT INTO login_throttles (identifier, failures, counted_from)
   SELECT int8send(n), 1, now() - random() * interval '40 hours' FROM generate_series(1, $1) AS n`,
  `INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, reserved_at, state, delivery)
   SELECT gen_random_uuid(), gen_random_uuid(), false, '+1999' || n, '+1999' || n / 10000, '198.51.100.' || n % 256,
     now() - n * interval '24 hours' / $1, 'finished', 'delivered' FROM generate_series($1, 1, -1) AS n`,
  // Of the logins of a day, those of the last hour and a bit, which are not purged yet.
  `WITH begun AS (
     INSERT INTO challenges (id, user_id, purpose, client, known, method, begun, ends_at, consumed_at)
     SELECT challenge_id, user_id, 'login', address, known, 'sms', '{sms}', reserved_at + interval '10 minutes', reserved_at
     FROM sms_messages WHERE phone LIKE '+1999%' AND reserved_at > now() - interval '70 minutes'
     RETURNING id)
   INSERT INTO challenge_codes (challenge_id, method, channel, code_mac, key_id, message_id, last_sent_at, expires_at)
   SELECT m.challenge_id, 'sms', 'sms', uuid_send(m.challenge_id), 'k', m.id, m.reserved_at, m.reserved_at + interval '5 minutes'
   FROM begun JOIN sms_messages m ON m.challenge_id = begun.id`,
  'VACUUM ANALYZE',
]

const callerAt = (address: string) => ({ requestId: systemRandom.uuid(), address, userAgent: null })

function refuse(): never {
  throw new Error('the bench makes no access tokens')
}
