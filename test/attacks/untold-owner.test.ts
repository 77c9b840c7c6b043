import t, { type Test } from 'tap'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { resetFactors } from '../../src/features/accounts/reset-factors.ts'
import { sendDueMails } from '../../src/features/mails/mail-sender.ts'
import type { Method } from '../../src/methods.ts'
import { age } from '../helpers/age.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { plantDevice, tokensOf } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { allMethods, createOwner, loginBy, type Owner, rightAnswer, sentCode } from '../helpers/equipped.ts'
import { createBareUser, enrol, enrolTotp, forgetSteps, prove, totpCode } from '../helpers/factors.ts'
import { mailedToken } from '../helpers/links.ts'
import { freshAddress } from '../helpers/password-guesses.ts'
import { type Answer, call, codeFor, freshPhone, login, type TestUser, textsTo, wrongCode } from '../helpers/story.ts'
import { countOf, together } from '../helpers/together.ts'

t.setTimeout(300_000)

/**
 * Somebody who has got into an account gains time while its owner does not know, and patience while the owner is told so
 * often that nobody reads it any more (contract, section 6).
 */
const doorstep = await startDoorstep(t, { env: { ...allMethods, SMS_COOLDOWN: '1' } })
const silent = await startDoorstep(t, {
  database: doorstep.database,
  env: { METHODS: 'passkey,totp,sms', SMS_COOLDOWN: '1', MAIL_PROVIDER: 'none', REGISTRATION: 'closed' },
})
const { sql } = doorstep
const day = 86_400
const freshPassword = 'a long sentence that only she knows'

/** What the owner is told, in order. */
const told = async ({ id }: Pick<TestUser, 'id'>): Promise<string[]> =>
  (await sql(`SELECT topic FROM mails WHERE user_id = $1 AND kind = 'notice' ORDER BY id`, [id])).map(
    ({ topic }) => topic,
  )

/** A session of an owner who has one device already and comes with it, so that no sign-in is news. */
async function quietly(at: Doorstep, owner: Owner, method: Method = 'passkey'): Promise<string> {
  const device = await plantDevice(at, owner)
  const begun = await loginBy(at, owner, method, { body: { device_token: device } })
  return tokensOf(await prove(at, begun, rightAnswer(at, owner, method, begun.body))).access
}

type Proof = { code?: string; credential?: object }

async function setUp(at: Doorstep, token: string, method: Method): Promise<{ begun: Answer; proof: Proof }> {
  const phone = freshPhone()
  const begun = await enrol(at, token, method === 'sms' ? { method, phone } : { method })
  if (begun.status !== 200) throw new Error(`${method}: ${begun.status} ${begun.body.code}`)
  const { setup } = begun.body.challenge
  if (method === 'sms') return { begun, proof: { code: codeFor(at, phone) } }
  if (method === 'totp') return { begun, proof: { code: totpCode(setup.secret) } }
  const device = createAuthenticator({ origin: at.config.passkey.origins[0] ?? '' })
  return { begun, proof: { credential: device.register(setup.public_key) } }
}

const factorId = async (owner: Owner, method: Method): Promise<string> =>
  (await sql('SELECT id FROM factors WHERE user_id = $1 AND method = $2', [owner.id, method]))[0]?.id

/** One login from a client that has no device token, and what is wrong of it. */
const strangely = (at: Doorstep, owner: TestUser, method: Method, from = '203.0.113.8') =>
  loginBy(at, owner, method, { from })

type Deed = {
  topic: string
  /** At most once in 24 hours, however often it is done. */
  daily?: boolean
  /** Whose it is; by default somebody with a passkey, an app and a phone. */
  owner?: (at: Doorstep) => Promise<Owner>
  /** Of what was added: it goes again, so that the next one replaces nothing. */
  adds?: Method
  /** It cannot be done a second time as it is. */
  once?: boolean
  /** Where there is no mail it cannot be done at all. */
  byMail?: boolean
  /** Does it, or (`fails`) everything of it but the last. */
  act: (t: Test, at: Doorstep, owner: Owner, fails: boolean) => Promise<unknown>
}

const enrolling =
  (method: Method): Deed['act'] =>
  async (t, at, owner, fails) => {
    const token = await quietly(at, owner, 'recovery_code')
    const { begun, proof } = await setUp(at, token, method)
    const wrong = { code: wrongCode(proof.code ?? '000000') }
    const answer = await prove(
      at,
      begun,
      fails ? (method === 'passkey' ? { credential: owner.device.assert(nobody(at)) } : wrong) : proof,
    )
    t.equal(answer.status, fails ? 422 : 200, method)
  }

/** What nobody was asked. */
const nobody = (at: Doorstep) =>
  at.services.passkeys.requestOptions({ challenge: Buffer.alloc(32), allow: [], userVerification: 'preferred' })

const signingIn =
  (method: Method): Deed['act'] =>
  async (t, at, owner, fails) => {
    const device = await plantDevice(at, owner)
    const begun = await loginBy(at, owner, method, { body: { device_token: device } })
    const right = rightAnswer(at, owner, method, begun.body)
    const code = right.code?.length === 6 ? wrongCode(right.code) : 'Z'.repeat(24)
    const answer = await prove(at, begun, fails ? { method, code } : right)
    t.equal(answer.status, fails ? 422 : 200, method)
  }

const failing = (method: Method) => async (at: Doorstep, owner: Owner, times: number) => {
  const begun = await strangely(at, owner, method, freshAddress())
  const right = rightAnswer(at, owner, method, begun.body)
  for (let n = 0; n < times; n += 1) {
    const answer = await prove(at, begun, { method, code: wrongCode(right.code ?? '') })
    if (answer.status !== 422) throw new Error(`${answer.status} ${answer.body.code}`)
  }
}

const deeds: Record<string, Deed> = {
  'a passkey added': { topic: 'factor.added', act: enrolling('passkey') },
  'an app added': {
    topic: 'factor.added',
    adds: 'totp',
    owner: (at) => createOwner(at, ['passkey']),
    act: enrolling('totp'),
  },
  'a phone added': {
    topic: 'factor.added',
    adds: 'sms',
    owner: (at) => createOwner(at, ['passkey']),
    act: enrolling('sms'),
  },
  'an app replaced': { topic: 'factor.replaced', act: enrolling('totp') },
  'a phone replaced': { topic: 'factor.replaced', act: enrolling('sms') },
  'a factor removed': {
    topic: 'factor.removed',
    owner: (at) => createOwner(at, ['passkey', 'totp', 'sms']),
    act: async (t, at, owner, fails) => {
      const token = await quietly(at, owner)
      const [factor] = await sql(`SELECT id FROM factors WHERE user_id = $1 AND method <> 'passkey' LIMIT 1`, [
        owner.id,
      ])
      const id = fails ? at.services.random.uuid() : factor?.id
      const { status } = await call(at, `/factors/${id}`, { method: 'DELETE', token })
      t.equal(status, fails ? 404 : 204)
    },
  },
  'recovery codes renewed': {
    topic: 'recovery_codes.renewed',
    act: async (t, at, owner, fails) => {
      const token = await quietly(at, owner)
      if (fails)
        await sql(`UPDATE sessions SET authenticated_at = now() - interval '1 hour' WHERE user_id = $1`, [owner.id])
      const { status, body } = await enrol(at, token, { method: 'recovery_code' })
      t.equal(status, fails ? 401 : 200)
      if (!fails) owner.codes = body.recovery_codes
    },
  },
  'a recovery code used to sign in': { topic: 'recovery_code.used', act: signingIn('recovery_code') },
  'a recovery code used to step up': {
    topic: 'recovery_code.used',
    act: async (t, at, owner, fails) => {
      const begun = await call(at, '/login/step-up', {
        token: await quietly(at, owner),
        body: { method: 'recovery_code' },
      })
      const code = fails ? 'Z'.repeat(24) : (owner.codes.pop() ?? '')
      t.equal((await prove(at, begun, { code })).status, fails ? 422 : 200)
    },
  },
  'a code by mail used': { topic: 'email_code.used', daily: true, byMail: true, act: signingIn('email') },
  'a sign-in from a new device': {
    topic: 'device.new',
    daily: true,
    act: async (t, at, owner, fails) => {
      await plantDevice(at, owner)
      const begun = await strangely(at, owner, 'passkey')
      const credential = owner.device.assert(begun.body.challenge.public_key, fails ? { flippedBit: 70 } : {})
      t.equal((await prove(at, begun, { credential })).status, fails ? 422 : 200)
    },
  },
  'a sign-in from a new device, by a passkey alone': {
    topic: 'device.new',
    daily: true,
    act: async (t, at, owner, fails) => {
      await plantDevice(at, owner)
      const begun = await call(at, '/login/passkey', { body: {} })
      const credential = owner.device.assert(begun.body.challenge.public_key, fails ? { flippedBit: 70 } : {})
      t.equal((await prove(at, begun, { credential })).status, fails ? 401 : 200)
    },
  },
  'a sign-in from a new device, by the password alone': {
    topic: 'device.new',
    daily: true,
    owner: (at) => createOwner(at, ['passkey'], 'off'),
    act: async (t, at, owner, fails) => {
      await plantDevice(at, owner)
      const password = fails ? 'another one' : owner.password
      t.equal((await login(at, { ...owner, password })).status, fails ? 401 : 200)
    },
  },
  'a passkey that may have been copied': {
    topic: 'passkey.counter_back',
    daily: true,
    act: async (t, at, owner, fails) => {
      await sql(`UPDATE factors SET counter = 100 WHERE user_id = $1 AND method = 'passkey'`, [owner.id])
      const device = await plantDevice(at, owner)
      const begun = await loginBy(at, owner, 'passkey', { body: { device_token: device } })
      const wrong = fails ? { flippedBit: 70, counter: 7 } : { counter: 7 }
      const credential = owner.device.assert(begun.body.challenge.public_key, wrong)
      t.equal((await prove(at, begun, { credential })).status, fails ? 422 : 200, 'told, not refused')
    },
  },
  'the same by a passkey alone': {
    topic: 'passkey.counter_back',
    daily: true,
    act: async (t, at, owner, fails) => {
      await sql(`UPDATE factors SET counter = 100 WHERE user_id = $1 AND method = 'passkey'`, [owner.id])
      const begun = await call(at, '/login/passkey', { body: { device_token: await plantDevice(at, owner) } })
      const wrong = fails ? { flippedBit: 70, counter: 7 } : { counter: 7 }
      const credential = owner.device.assert(begun.body.challenge.public_key, wrong)
      t.equal((await prove(at, begun, { credential })).status, fails ? 401 : 200)
    },
  },
  'three codes that failed': {
    topic: 'codes.failed',
    daily: true,
    act: (_t, at, owner, fails) => failing('totp')(at, owner, fails ? 2 : 3),
  },
  'a password set by link': {
    topic: 'password.set',
    once: true,
    byMail: true,
    act: async (t, at, owner, fails) => {
      await call(at, '/password/forgot', { body: { email: owner.email } })
      const token = await mailedToken(at, owner.email)
      const { status } = await call(at, '/password/set', {
        body: { token, password: fails ? 'password1' : freshPassword },
      })
      t.equal(status, fails ? 400 : 200)
    },
  },
  'a password changed': {
    topic: 'password.changed',
    act: async (t, at, owner, fails) => {
      const body = { current_password: fails ? 'another one' : owner.password, password: `${owner.password}!` }
      const { status } = await call(at, '/me/password', { method: 'PUT', token: await quietly(at, owner), body })
      t.equal(status, fails ? 422 : 200)
      if (!fails) owner.password = body.password
    },
  },
  'another e-mail asked for': {
    topic: 'email.change_asked',
    byMail: true,
    act: async (t, at, owner, fails) => {
      const body = { email: fails ? 'nowhere' : `other-${owner.email}` }
      const { status } = await call(at, '/me/email', { method: 'PUT', token: await quietly(at, owner), body })
      t.equal(status, fails ? 400 : 202)
    },
  },
  'a user who leaves': {
    topic: 'deletion.begun',
    once: true,
    act: async (t, at, owner, fails) => {
      const token = await quietly(at, owner)
      if (fails) await call(at, '/logout', { token, body: {} })
      t.equal((await call(at, '/me', { method: 'DELETE', token })).status, fails ? 401 : 202)
    },
  },
  'an operator sets a password': {
    topic: 'password.reset',
    act: (t, at, owner, fails) => {
      const edit = { password: fails ? 'password1' : freshPassword }
      const changed = changeAccount(at.services, { email: owner.email, edit, outcome: 'password changed' })
      return fails ? t.rejects(changed) : changed
    },
  },
  'an operator sets a phone': {
    topic: 'phone.set',
    act: (t, at, owner, fails) => {
      const edit = { phone: fails ? '+1' : freshPhone() }
      const changed = changeAccount(at.services, { email: owner.email, edit, outcome: 'phone changed' })
      return fails ? t.rejects(changed) : changed
    },
  },
  'an operator resets the factors': {
    topic: 'factors.reset',
    once: true,
    act: (t, at, owner, fails) =>
      fails ? t.rejects(resetFactors(at.services, 'nobody@example.com')) : resetFactors(at.services, owner.email),
  },
  'an operator disables the account': {
    topic: 'account.disabled',
    once: true,
    act: (_t, at, owner, fails) =>
      changeAccount(at.services, {
        email: owner.email,
        edit: fails ? {} : { disabled: true },
        outcome: fails ? 'nothing' : 'disabled',
      }),
  },
}

/** What is told of how the deed is done, beside the deed itself. */
const isAside = (topic: string, aside: string): boolean => aside !== topic && aside === 'recovery_code.used'

const newsOf = async (owner: Owner, topic: string): Promise<string[]> =>
  (await told(owner)).filter((it) => !isAside(topic, it))

/** The notices that went out. */
const mailsTo = ({ email }: Owner) =>
  (doorstep.services.mailbox?.sent() ?? []).filter(
    ({ to, text }) => to === email && !/^\d{6}$|\/set-password#/m.test(text),
  )

for (const [
  name,
  { topic, daily = false, adds, once = false, byMail = false, owner: make = createOwner, act },
] of Object.entries(deeds)) {
  t.test(`${name}: the owner is told ${daily ? 'once a day' : 'each time, once'}, and of no failure`, async (t) => {
    const careful = await make(doorstep)
    await act(t, doorstep, careful, true)
    t.same(await newsOf(careful, topic), [], 'it failed')

    const owner = await make(doorstep)
    await act(t, doorstep, owner, false)
    t.same(await newsOf(owner, topic), [topic])
    const again = async (seconds: number) => {
      await forgetSteps(doorstep, owner)
      await age(doorstep, owner, seconds)
      if (adds) await sql('DELETE FROM factors WHERE user_id = $1 AND method = $2', [owner.id, adds])
      await act(t, doorstep, owner, false)
      return newsOf(owner, topic)
    }
    if (!once) t.same(await again(2), daily ? [topic] : [topic, topic], 'a second time')
    if (daily) t.same(await again(day), [topic, topic], 'a day later')

    const count = (await told(owner)).length
    await sendDueMails(doorstep.services)
    await sendDueMails(doorstep.services)
    const mails = mailsTo(owner)
    t.equal(mails.length, count, 'and each goes out once')
    for (const { text } of mails) {
      for (const secret of [owner.password, owner.secret, owner.phone, ...owner.codes]) t.notOk(text.includes(secret))
    }

    if (!byMail) {
      const mute = await make(silent)
      await act(t, silent, mute, false)
      t.same(await sql('SELECT FROM mails WHERE user_id = $1', [mute.id]), [], 'without a mail service there is none')
    }
  })
}

t.test('the first factor is told, and with it no device', async (t) => {
  const user = await createBareUser(doorstep)
  const begun = await login(doorstep, user)
  const proven = await prove(doorstep, begun, { code: sentCode(doorstep, begun.body.pending_token, 'email') })
  await enrolTotp(doorstep, proven.body.pending_token)
  t.same(await told(user), ['factor.added'])
})

t.test('a sign-in is news where every device was forgotten, and where the log goes back no further', async (t) => {
  const owner = await createOwner(doorstep, ['totp'])
  const signIn = async () => {
    await forgetSteps(doorstep, owner)
    const begun = await loginBy(doorstep, owner, 'totp')
    t.equal((await prove(doorstep, begun, rightAnswer(doorstep, owner, 'totp', begun.body))).status, 200)
  }
  await signIn()
  t.same(await told(owner), [], 'but not the first one of a new account')
  await sql('DELETE FROM devices WHERE user_id = $1', [owner.id])
  await signIn()
  t.same(await told(owner), ['device.new'])

  await sql(`UPDATE users SET created_at = created_at - interval '400 days' WHERE id = $1`, [owner.id])
  await sql(`DELETE FROM mails WHERE user_id = $1`, [owner.id])
  for (const table of ['devices', 'audit_events']) await sql(`DELETE FROM ${table} WHERE user_id = $1`, [owner.id])
  await signIn()
  t.same(await told(owner), ['device.new'])
})

t.test('the old number is told by text that it was replaced, once, and no new one is', async (t) => {
  const owner = await createOwner(doorstep)
  const token = await quietly(doorstep, owner)
  const { begun, proof } = await setUp(doorstep, token, 'sms')
  await prove(doorstep, begun, { code: wrongCode(String(proof.code)) })
  await doorstep.services.background.drain()
  t.same(textsTo(doorstep, owner.phone), [])
  t.equal((await prove(doorstep, begun, proof)).status, 200)
  await doorstep.services.background.drain()
  t.match(textsTo(doorstep, owner.phone), { length: 1, 0: /no longer/ })
})

t.test(
  'locked codes are told once a day, whichever methods failed, and locked again the day after',
  async (t: Test) => {
    const owner = await createOwner(doorstep)
    for (const method of ['totp', 'sms'] as const) {
      await failing(method)(doorstep, owner, 5)
      await age(doorstep, owner, 61)
    }
    t.same(await told(owner), ['codes.failed', 'codes.locked'])
    await age(doorstep, owner, 3_600)
    await failing('totp')(doorstep, owner, 5)
    t.same(await told(owner), ['codes.failed', 'codes.locked'], 'not twice a day')
    await age(doorstep, owner, day)
    await failing('totp')(doorstep, owner, 5)
    t.same(countOf(await told(owner)), { 'codes.failed': 2, 'codes.locked': 2 }, 'but every day')

    const mute = await createOwner(silent)
    for (const method of ['totp', 'sms'] as const) await failing(method)(silent, mute, 5)
    t.same(await told(mute), [])
  },
)

t.test(
  'a list of passwords is not checked in silence: three codes that nobody typed are told at the purge',
  async (t) => {
    const purge = (notices = true) => doorstep.services.store.purge.expired({ eventDays: 400, notices })
    const abandon = async (owner: Owner, count: number) => {
      for (let n = 0; n < count; n += 1) await strangely(doorstep, owner, 'totp', `203.0.113.${100 + n}`)
    }
    const owner = await createOwner(doorstep)
    await abandon(owner, 3)
    await age(doorstep, owner, 601)
    await purge()
    t.same(await told(owner), [], 'not while they are kept')
    await age(doorstep, owner, 3_600)
    await together(2, () => purge())
    t.same(await told(owner), ['codes.failed'], 'once, though two replicas purge')
    await purge()
    t.same(await told(owner), ['codes.failed'])
    const events = await sql(`SELECT FROM audit_events WHERE user_id = $1 AND type = 'code.abandoned'`, [owner.id])
    t.equal(events.length, 3)

    if (doorstep.database.isReal) {
      const shared = await createOwner(doorstep)
      await abandon(shared, 3)
      await age(doorstep, shared, 4_201)
      await sql('BEGIN')
      await sql(`SELECT purge('challenges', 1, 400, true)`)
      await purge()
      await sql('COMMIT')
      await purge()
      t.same(await told(shared), ['codes.failed'], 'nor do two that purge at once each see too few')
    }

    const mixed = await createOwner(doorstep)
    await failing('totp')(doorstep, mixed, 1)
    await abandon(mixed, 1)
    await age(doorstep, mixed, 4_300)
    await purge()
    t.same(await told(mixed), [], 'two')
    await abandon(mixed, 1)
    await age(doorstep, mixed, 4_300)
    await purge()
    t.same(await told(mixed), ['codes.failed'], 'failed and abandoned ones together')

    const finished = await createOwner(doorstep)
    for (let n = 0; n < 4; n += 1) {
      const begun = await strangely(doorstep, finished, 'passkey', `203.0.113.${n}`)
      t.equal((await prove(doorstep, begun, rightAnswer(doorstep, finished, 'passkey', begun.body))).status, 200)
    }
    await age(doorstep, finished, 4_300)
    await purge()
    t.notOk((await told(finished)).includes('codes.failed'), 'logins that were finished are none')

    const mute = await createOwner(doorstep)
    await abandon(mute, 4)
    await age(doorstep, mute, 4_300)
    await purge(false)
    t.same(await told(mute), [], 'and without a mail service nobody is')
  },
)

t.test('what is proven many times at once is told once', async (t) => {
  const owner = await createOwner(doorstep)
  await plantDevice(doorstep, owner)
  const begun = await Promise.all(
    ['198.51.100.1', '198.51.100.2'].map((from) => loginBy(doorstep, owner, 'recovery_code', { from })),
  )
  const code = owner.codes.pop() ?? ''
  const answers = await together(12, (n) => prove(doorstep, begun[n % 2] as Answer, { method: 'recovery_code', code }))
  t.equal(answers.filter(({ status }) => status === 200).length, 1)
  t.same(countOf(await told(owner)), {
    'device.new': 1,
    'recovery_code.used': 1,
    ...((await told(owner)).includes('codes.failed') && { 'codes.failed': 1 }),
  })

  const token = await quietly(doorstep, owner)
  const { begun: enrolment, proof } = await setUp(doorstep, token, 'passkey')
  await together(8, () => prove(doorstep, enrolment, proof))
  t.equal(countOf(await told(owner))['factor.added'], 1)
  const id = await factorId(owner, 'totp')
  await together(8, () => call(doorstep, `/factors/${id}`, { method: 'DELETE', token }))
  t.equal(countOf(await told(owner))['factor.removed'], 1)
})
