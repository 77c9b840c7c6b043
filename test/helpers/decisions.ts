import { randomBytes, randomUUID } from 'node:crypto'
import { policyOf, traits } from '../../src/features/factors/index.ts'
import type { Method } from '../../src/methods.ts'
import type { Doorstep } from './doorstep.ts'
import type { Script } from './interleave.ts'

/**
 * Whoever has an account with everything that a decision can be about: a known and trusted device with a session, a login
 * of a stranger that waits for its code (`challenge`), and a step-up of that session that does (`stepUp`); a phone, an
 * authenticator app and a recovery code. Two wrong passwords of strangers and one of the device are counted. Three links
 * were mailed: one that sets the password, one that moves the account to `newEmail`, and one that takes everything back.
 */
export type Player = {
  id: string
  email: string
  phone: string
  address: string
  /** The e-mail's counters: one under each of two secret keys, in their order. */
  identifiers: [Buffer, Buffer]
  deviceHash: Buffer
  device: string
  session: string
  challenge: string
  stepUp: string
  /** The authenticator app, whose last step is 1. */
  totp: string
  /** What is stored of the tokens of three mailed links. */
  link: Buffer
  confirmLink: Buffer
  notMe: Buffer
  newEmail: string
}

/** `ago`: seconds since its texts went and its session was used; `attempts` and `sends` of its challenges. */
type Beginning = { phone?: string; ago?: number; attempts?: number; sends?: number }

/**
 * Who asks for a code: a stranger that calls itself `client`, the known device, or its session that steps up. `text`: of its
 * budget what differs.
 */
type Opening = { client?: string; known?: boolean; stepUp?: boolean; policy?: object; text?: object }

const event = JSON.stringify({ type: 'test', outcome: 'test' })
const rightMac = 'ab'.repeat(32)
const life = { ttl: 43_200, idle_ttl: 43_200 }
const inOrder = (): [Buffer, Buffer] => [randomBytes(32), randomBytes(32)].sort(Buffer.compare) as [Buffer, Buffer]
let players = 0

/** The decisions of the service as statements, ready to be played against each other. */
export function createDecisions({ sql, services }: Pick<Doorstep, 'sql' | 'services'>) {
  const { textBudget } = services.challengeRules
  const policyFor = (more: object = {}): string => JSON.stringify({ ...policyOf(services), ...more })
  const sms = ({ phone, address }: Player, text: object = {}): object => ({
    ...{ method: 'sms', sends: 'sms', in_cooldown: true, may_send: true, code: { mac: rightMac, key_id: 'k' } },
    text: { ...textBudget(address), phone, ...text },
  })
  const proofOf = (proof: object, method: Method | null = null): string =>
    JSON.stringify({
      ...{ method, traits, codes: {}, recovery: [], fresh_recovery: [], next_id: randomUUID() },
      ...proof,
    })
  const deviceOf = ({ address }: Player, trust = false): string =>
    JSON.stringify({
      ...{ id: randomUUID(), token_hash: randomBytes(32).toString('hex'), name: null, address, user_agent: null },
      ...{ life: 7_776_000, trust, trust_life: 2_592_000 },
    })
  const sessionOf = ({ address }: Player): object => ({
    ...{ id: randomUUID(), amr: ['pwd'], acr: 'aal2', remember: false, user_agent: null, address },
    ...life,
  })

  const answered = (player: Player, proof: string, { stepUp = false, trust = false } = {}): Script => ({
    sql: 'SELECT answer_challenge($1, $2, $3, $4, $5, $6, $7, $8)',
    values: [
      ...[stepUp ? player.stepUp : player.challenge, player.id, stepUp ? 'step_up' : 'login', proof, policyFor()],
      ...[JSON.stringify(stepUp ? { id: player.session } : sessionOf(player)), deviceOf(player, trust), event],
    ],
  })

  return {
    /** A new player, all in one statement. */
    join: async ({ phone, ago = 61, attempts = 0, sends = 1 }: Beginning = {}): Promise<Player> => {
      players += 1
      const player = {
        ...{
          id: randomUUID(),
          email: `${players}@example.com`,
          phone: phone ?? `+1${String(players).padStart(6, '0')}0000`,
        },
        ...{ address: `10.${players >> 16}.${(players >> 8) & 255}.${players & 255}` },
        ...{ identifiers: inOrder(), deviceHash: randomBytes(32), device: randomUUID(), session: randomUUID() },
        ...{ challenge: randomUUID(), stepUp: randomUUID(), totp: randomUUID() },
        ...{ link: randomBytes(32), confirmLink: randomBytes(32), notMe: randomBytes(32) },
        newEmail: `new-${players}@example.com`,
      }
      await sql(
        `WITH past AS (SELECT clock_timestamp() - make_interval(secs => $11) AS at),
           person AS (INSERT INTO users (id, email, password_hash) VALUES ($1, $2, 'not a hash')),
           factor AS (INSERT INTO factors (id, user_id, method, phone, counter, data) VALUES
             (gen_random_uuid(), $1, 'sms', $3, 0, '{}'), ($16, $1, 'totp', NULL, 1, '{"secret": "sealed"}')),
           recovery AS (INSERT INTO recovery_codes (user_id, mac) VALUES ($1, decode($14, 'hex'))),
           throttle AS (INSERT INTO login_throttles (identifier, failures) VALUES ($15, 2), ($5, 2), ($6, 1)),
           guard AS (INSERT INTO factor_guards (user_id, known) VALUES ($1, true), ($1, false)),
           device AS (INSERT INTO devices (id, user_id, token_hash, failures, last_used_at, expires_at, trusted_until)
             SELECT $7, $1, $6, 1, at, at + interval '90 days', at + interval '30 days' FROM past),
           session AS (INSERT INTO sessions (id, user_id, device_id, amr, acr, generation, rotated_at, authenticated_at,
               last_used_at, idle_until, expires_at)
             SELECT $8, $1, $7, '{pwd}', 'aal1', 1, at, at, at, at + interval '12 hours', at + interval '12 hours' FROM past),
           links AS (INSERT INTO mail_links (token_hash, kind, email, user_id, data, created_at, expires_at)
             SELECT hash, kind, email, $1, jsonb_build_object('since', extract(epoch FROM at)), at, at + interval '7 days'
             FROM past, (VALUES ($17::bytea, 'set_password', $2), ($18, 'confirm_email', $20), ($19, 'not_me', $2)) l(hash, kind, email)),
           mails AS (INSERT INTO mails (user_id, kind, topic, address, locale, created_at, next_try_at)
             SELECT owner, kind, topic, $2, 'en', at, at
             FROM past, (VALUES (NULL::uuid, 'link', 'forgot'), ($1, 'notice', 'device.new')) m(owner, kind, topic)),
           text AS (INSERT INTO sms_messages (user_id, challenge_id, known, phone, prefix, address, reserved_at, delivery)
             SELECT $1, c.id, c.known, $3, left($3, -4), $4, at, 'sent' FROM past, (VALUES ($9::uuid, false), ($10, true)) c(id, known)
             RETURNING id, challenge_id, known, reserved_at),
           challenge AS (INSERT INTO challenges (id, user_id, purpose, client, known, device_id, method, begun, attempts, created_at, ends_at)
             SELECT challenge_id, $1, CASE WHEN known THEN 'step_up' ELSE 'login' END, CASE WHEN known THEN 'session:' || $8 ELSE 'a browser' END,
               known, CASE WHEN known THEN $7::uuid END, 'sms', '{sms}', $12, reserved_at, reserved_at + interval '600 seconds' FROM text)
         INSERT INTO challenge_codes (challenge_id, method, channel, code_mac, key_id, message_id, sends, last_sent_at, expires_at)
         SELECT challenge_id, 'sms', 'sms', decode($14, 'hex'), 'k', id, $13, reserved_at, reserved_at + interval '300 seconds' FROM text`,
        [
          ...[player.id, player.email, player.phone, player.address, player.identifiers[0], player.deviceHash],
          ...[player.device, player.session, player.challenge, player.stepUp, ago, attempts, sends, rightMac],
          ...[player.identifiers[1], player.totp, player.link, player.confirmLink, player.notMe, player.newEmail],
        ],
      )
      return player
    },

    /** `keys`: those that a replica has, while the setting changes. */
    begin: (player: Player, { known = false, keys = player.identifiers as Buffer[] } = {}): Script => ({
      sql: 'SELECT begin_login($1, $2, $3, $4)',
      values: [...[player.email, keys, known ? player.deviceHash : null], JSON.stringify(textBudget(player.address))],
    }),

    /** The password was wrong. */
    fail: ({ id, device }: Player, { known = false } = {}): Script => ({
      sql: 'SELECT fail_login($1, $2, $3)',
      values: [id, known ? device : null, event],
    }),

    /** The password was right: a code is asked for. */
    open: (
      player: Player,
      { client = 'a browser', known = false, stepUp = false, policy = {}, text = {} }: Opening = {},
    ): Script => ({
      sql: 'SELECT open_challenge($1, 0, $2, $3, $4, $5, $6)',
      values: [
        ...[player.id, stepUp ? null : known ? [player.deviceHash] : player.identifiers],
        JSON.stringify({
          ...{ id: randomUUID(), purpose: stepUp ? 'step_up' : 'login', proves_mailbox: false },
          ...{ known: known || stepUp, device_id: known || stepUp ? player.device : null },
          client: stepUp ? `session:${player.session}` : known ? `device:${player.device}` : client,
        }),
        ...[JSON.stringify([sms(player, text)]), policyFor(policy), event],
      ],
    }),

    /** The password was right and nothing more is asked, of the known device because it is trusted. */
    start: (player: Player, { trusted = false } = {}): Script => ({
      sql: 'SELECT start_session($1, 0, $2, $3, $4, $5, $6, $7, $8)',
      values: [
        ...[player.id, trusted ? [player.deviceHash] : player.identifiers, trusted ? player.device : null, trusted],
        ...[JSON.stringify(sessionOf(player)), deviceOf(player), policyFor(), event],
      ],
    }),

    answer: (player: Player, { right = true, stepUp = false, trust = false } = {}): Script =>
      answered(player, proofOf({ codes: { sms: { k: right ? rightMac : '00'.repeat(32) } } }), { stepUp, trust }),

    /** The code of an authenticator app, which the service has judged. */
    answerByApp: (player: Player, { right = true, step = 2, stepUp = false } = {}): Script => {
      const verdict = right
        ? { method: 'totp', right, factor_id: player.totp, counter: step, rises: true }
        : { method: 'totp', right }
      return answered(player, proofOf({ verdict }, 'totp'), { stepUp })
    },

    answerByRecoveryCode: (player: Player, { right = true, stepUp = false } = {}): Script =>
      answered(player, proofOf({ recovery: [right ? rightMac : '00'.repeat(32)] }, 'recovery_code'), { stepUp }),

    /** The login goes on with the authenticator app. */
    switchToApp: (player: Player): Script => ({
      sql: 'SELECT switch_method($1, $2, $3, $4, $5, $6)',
      values: [
        player.challenge,
        player.id,
        'login',
        JSON.stringify({ method: 'totp', sends: null, in_cooldown: true }),
        policyFor(),
        event,
      ],
    }),

    resend: (
      player: Player,
      { stepUp = false, policy = {}, text = {} }: Pick<Opening, 'stepUp' | 'policy' | 'text'> = {},
    ): Script => ({
      sql: 'SELECT resend_code($1, $2, $3, $4, $5, $6)',
      values: [
        ...[stepUp ? player.stepUp : player.challenge, player.id, stepUp ? 'step_up' : 'login'],
        ...[JSON.stringify(sms(player, text)), policyFor(policy), event],
      ],
    }),

    /** The session begins to set up another authenticator app. */
    enrol: (player: Player, id: string = randomUUID(), epoch = 0): Script => ({
      sql: 'SELECT begin_enrolment($1, $2, $3, $4, $5, $6)',
      values: [
        ...[
          player.id,
          JSON.stringify({ session: player.session, epoch, challenge: null }),
          JSON.stringify({ id, setup: '00' }),
        ],
        ...[
          JSON.stringify({ method: 'totp', sends: null, in_cooldown: true }),
          policyFor({ enrolments_day: 10 }),
          event,
        ],
      ],
    }),

    /** The session begins to set up a phone, which is texted. */
    enrolPhone: (player: Player, phone: string, address: string): Script => ({
      sql: 'SELECT begin_enrolment($1, $2, $3, $4, $5, $6)',
      values: [
        ...[player.id, JSON.stringify({ session: player.session, epoch: 0, challenge: null })],
        ...[JSON.stringify({ id: randomUUID(), setup: '00' }), JSON.stringify(sms({ ...player, phone, address }))],
        ...[policyFor({ enrolments_day: 10 }), event],
      ],
    }),

    /** And proves it. */
    confirm: (player: Player, id: string, { right = true } = {}): Script => {
      const made = { id: randomUUID(), method: 'totp', name: null, counter: 5, data: { secret: 'another' }, at_most: 1 }
      const verdict = right ? { method: 'totp', right, new_factor: made } : { method: 'totp', right }
      return {
        sql: 'SELECT answer_challenge($1, $2, $3, $4, $5, $6, $7, $8)',
        values: [
          ...[id, player.id, 'enrol', proofOf({ verdict }), policyFor(), JSON.stringify({ id: player.session })],
          ...[deviceOf(player), event],
        ],
      }
    },

    removeFactor: (player: Player): Script => ({
      sql: 'SELECT remove_factor($1, $2, $3, $4, $5)',
      values: [player.id, player.session, player.totp, policyFor(), event],
    }),

    renewRecoveryCodes: (player: Player, epoch = 0): Script => ({
      sql: 'SELECT renew_recovery_codes($1, $2, $3, $4, $5, $6)',
      values: [player.id, player.session, epoch, JSON.stringify(['cd'.repeat(32)]), policyFor(), event],
    }),

    resetFactors: ({ email, identifiers }: Player): Script => ({
      sql: 'SELECT reset_factors($1, $2, $3, $4)',
      values: [email, identifiers, policyFor(), event],
    }),

    /** With the newest refresh token (generation 1), or one that was used up before it. */
    rotate: ({ session }: Player, { generation = 1 } = {}): Script => ({
      sql: 'SELECT rotate_session($1, $2, 30, 1209600, $3)',
      values: [session, generation, event],
    }),

    end: ({ id, session }: Player, scope: 'local' | 'others' | 'all'): Script => ({
      sql: 'SELECT end_sessions($1, $2, $3, $4)',
      values: [id, session, scope, event],
    }),

    change: ({ email, identifiers }: Player, what: object = { disabled: true }): Script => ({
      sql: 'SELECT change_user($1, $2, $3, $4)',
      values: [email, identifiers, JSON.stringify(what), event],
    }),

    unlock: ({ email, identifiers }: Player, all = false): Script => ({
      sql: 'SELECT unlock_user($1, $2, $3, $4)',
      values: [email, identifiers, all, event],
    }),

    forgetDevice: ({ id, device }: Player): Script => ({
      sql: 'SELECT forget_device($1, $2, $3)',
      values: [id, device, event],
    }),

    endTrust: ({ id, device }: Player): Script => ({
      sql: 'SELECT change_device($1, $2, NULL, true, $3)',
      values: [id, device, event],
    }),

    /** The provider's answer to the login's text, and its receipt. */
    delivered: ({ challenge }: Player, by: 'answer' | 'receipt'): Script => ({
      sql:
        by === 'answer'
          ? `SELECT record_answer((SELECT message_id FROM challenge_codes WHERE challenge_id = $1::uuid), 'sent', 'open', 'SM' || $1::text, NULL, NULL)::text`
          : `SELECT record_receipt((SELECT message_id FROM challenge_codes WHERE challenge_id = $1::uuid), 'SM' || $1::text, 'delivered', NULL)::text`,
      values: [challenge],
    }),

    /** By the mailed link, or another one. `known`: by the known device. */
    setPassword: ({ link, identifiers, deviceHash }: Player, { by = link, known = false } = {}): Script => ({
      sql: `SELECT set_password($1, 'by link', 'required', $2, $3, $4, $5)`,
      values: [by, identifiers, known ? deviceHash : null, policyFor(), event],
    }),

    /** Of the session, to which the password \`old\` was shown right. */
    changePassword: ({ id, session, identifiers, address }: Player, { old = 'not a hash' } = {}): Script => ({
      sql: `SELECT change_password($1, $2, $3, 'changed', $4, $5, $6, $7)`,
      values: [
        ...[id, session, old, identifiers, JSON.stringify({ id: randomUUID(), user_agent: null, address })],
        ...[policyFor(), event],
      ],
    }),

    resetPassword: ({ email }: Player, force: boolean): Script => ({
      sql: 'SELECT reset_password($1, $2, $3, $4)',
      values: [email, force, policyFor(), event],
    }),

    requestEmail: ({ id, session, newEmail }: Player): Script => ({
      sql: 'SELECT request_email_change($1, $2, $3, $4, $5)',
      values: [id, session, newEmail, policyFor({ changes_day: 3 }), event],
    }),

    confirmEmail: ({ id, session, confirmLink }: Player, { by = confirmLink } = {}): Script => ({
      sql: 'SELECT confirm_email($1, $2, $3, $4, $5)',
      values: [id, session, by, policyFor(), event],
    }),

    setLocale: ({ id }: Player): Script => ({ sql: `SELECT set_locale($1, 'de', $2)::text`, values: [id, event] }),

    leave: ({ id, session }: Player): Script => ({
      sql: 'SELECT begin_deletion($1, $2, 7, $3, $4)::text',
      values: [id, session, policyFor(), event],
    }),

    secure: ({ notMe }: Player): Script => ({
      sql: 'SELECT secure_account($1, $2, $3)',
      values: [notMe, policyFor(), event],
    }),

    exportAll: ({ id }: Player): Script => ({
      sql: 'SELECT export_account($1, 5, $2)',
      values: [id, JSON.stringify({ type: 'user.exported', outcome: 'exported' })],
    }),

    forget: ({ id }: Player): Script => ({ sql: 'SELECT forget_account($1, $2)::text', values: [id, event] }),

    /** All whose time has come. */
    eraseDue: (): Script => ({ sql: 'SELECT erase_accounts(10)', values: [] }),

    /** The mail that waits, a reset link that anybody asked for, is sent. */
    prepare: ({ email }: Player, hash: Buffer = randomBytes(32)): Script => ({
      sql: `SELECT prepare_link((SELECT id FROM mails WHERE address = $1 AND kind = 'link' ORDER BY id LIMIT 1), $2, $3)`,
      values: [email, hash, JSON.stringify(services.linkRules.policy)],
    }),

    /** The notice that waits is sent, with a link of its own. */
    linkNotice: ({ id }: Player): Script => ({
      sql: `SELECT link_notice((SELECT id FROM mails WHERE user_id = $1 AND kind = 'notice' ORDER BY id LIMIT 1), $2)::text`,
      values: [id, randomBytes(32)],
    }),

    /** A link that registers, or sets the password of whoever has the address by then. */
    registerLink: async (email: string): Promise<Buffer> => {
      const hash = randomBytes(32)
      await sql(
        `INSERT INTO mail_links (token_hash, kind, email, data, expires_at)
         VALUES ($1, 'set_password', $2, '{"locale": "en"}', now() + interval '1 day')`,
        [hash, email],
      )
      return hash
    },

    /** An operator makes the account of an address. */
    create: (email: string): Script => ({
      sql: `SELECT create_user($1, NULL, NULL, 'required', 'en', $2)`,
      values: [email, event],
    }),

    /** A user is erased, by a statement that keeps the account to itself first. */
    erase: ({ id }: Player): Script => ({
      sql: 'WITH locked AS (SELECT lock_account($1)) DELETE FROM users USING locked WHERE id = $1 RETURNING true',
      values: [id],
    }),
  }
}
