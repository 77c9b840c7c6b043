import t, { type Test } from 'tap'
import { type Method, methodNames } from '../../src/methods.ts'
import { fromBase32 } from '../../src/security/base32.ts'
import { hotp } from '../../src/security/totp.ts'
import { age } from '../helpers/age.ts'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import {
  allMethods,
  createOwner,
  type Given,
  loginBy,
  type Owner,
  rightAnswer,
  sentCode,
  sessionOf,
} from '../helpers/equipped.ts'
import { forgetSteps, totpCode } from '../helpers/factors.ts'
import { forge, hmac, part } from '../helpers/forge.ts'
import { type Answer, call, codeFor, freshPhone, textsTo, wrongCode } from '../helpers/story.ts'

t.setTimeout(300_000)

/**
 * Somebody who has a part of a proof, or a whole one of something else, gains a session, a fresh one, a factor of their own
 * or the removal of the owner's. Every method, in every ceremony, is given every kind of answer: what gets in is written
 * down here, all else is refused, and the owner's own answer gets in right after it.
 */
const doorstep = await startDoorstep(t, { env: allMethods })
const { services, sql, config } = doorstep
const origin = config.passkey.origins[0] ?? ''

const kinds = [
  'right',
  'wrong',
  'expired',
  'used',
  "another user's",
  "another challenge's",
  "another purpose's",
] as const
type Kind = (typeof kinds)[number]

/** An answer as the tables have it: `200`, `422 invalid_code`. */
const shown = ({ status, body }: Answer): string => (body.code === undefined ? `${status}` : `${status} ${body.code}`)
const wrong = '422 invalid_code'
const over = '401 invalid_token'
const unheard = '400 invalid_request'
const stale = '401 insufficient_user_authentication'

const prove = (begun: Answer['body'], given: Given): Promise<Answer> =>
  call(doorstep, '/login/2fa', { token: begun.pending_token, body: given })

/** A code as it was on the app's display a minute ago. */
const oldTotp = (secret: string): string => hotp(fromBase32(secret), Math.floor(Date.now() / 30_000) - 2)

/** What is well formed, and right for nobody. */
function wrongOf(right: Given): Given {
  if (right.credential !== undefined) {
    const { response, ...rest } = right.credential as { response: { signature: string } }
    const signature = Buffer.from(response.signature, 'base64url')
    signature[signature.length - 1] = (signature.at(-1) ?? 0) ^ 1
    return { ...right, credential: { ...rest, response: { ...response, signature: signature.toString('base64url') } } }
  }
  const code = right.code ?? ''
  return { ...right, code: code.length === 6 ? wrongCode(code) : '0'.repeat(24) }
}

/** Begins what a proof of a factor is asked for by; a second one of the same owner is somebody else's client. */
type Ceremony = {
  begin(owner: Owner, method: Method, second?: boolean): Promise<Answer>
  /** The same user's proof of something else. */
  beginOther(owner: Owner, method: Method): Promise<Answer>
}

const sessions = new Map<string, string>()
/** The owner's session, or another one: a step-up belongs to its session. */
async function accessOf(owner: Owner, second = false): Promise<string> {
  const name = `${owner.id} ${second}`
  const access = sessions.get(name) ?? (await sessionOf(doorstep, owner)).access
  sessions.set(name, access)
  return access
}

const byLogin: Ceremony['begin'] = (owner, method, second) =>
  loginBy(doorstep, owner, method, { from: second ? '203.0.113.9' : '203.0.113.5' })

const byStepUp: Ceremony['begin'] = async (owner, method, second) =>
  call(doorstep, '/login/step-up', { token: await accessOf(owner, second), body: { method } })

/** Of a method that a step-up does not take, what would have been sent there. */
async function byAnyStepUp(owner: Owner, method: Method): Promise<Answer> {
  return byStepUp(owner, method === 'email' ? 'totp' : method)
}

/** An answer of this kind to `begun`, which is alive and waits for `method` unless the kind says otherwise. */
async function answerOf(
  kind: Kind,
  { owner, method, ceremony }: { owner: Owner; method: Method; ceremony: Ceremony },
): Promise<{ begun: Answer; given: Given }> {
  const { begin, beginOther } = ceremony
  const right = (of: Owner, { body }: Answer): Given => rightAnswer(doorstep, of, method, body)
  if (kind === 'used') {
    const before = await begin(owner, method)
    const given = right(owner, before)
    if ((await prove(before.body, given)).status !== 200) throw new Error('the first use was refused')
    if ((await prove(before.body, given)).status !== 401) throw new Error('one challenge was finished twice')
    return { begun: await begin(owner, method), given }
  }
  if (kind === "another challenge's" || kind === "another purpose's") {
    const other = await (kind === "another purpose's" ? beginOther(owner, method) : begin(owner, method, true))
    if (other.status !== 200) throw new Error(`the other one: ${shown(other)}`)
    const given = right(owner, other)
    await age(doorstep, owner, 61)
    return { begun: await begin(owner, method), given }
  }
  const begun = await begin(owner, method)
  if (kind === "another user's") {
    const eve = await createOwner(doorstep)
    const own = await loginBy(doorstep, eve, method)
    const asked = { challenge: { public_key: { ...begun.body.challenge.public_key, allowCredentials: [] } } }
    return { begun, given: right(eve, method === 'passkey' ? { ...own, body: asked } : own) }
  }
  const given = right(owner, begun)
  if (kind === 'wrong') return { begun, given: wrongOf(given) }
  if (kind === 'expired') {
    if (method === 'totp') return { begun, given: { method, code: oldTotp(owner.secret) } }
    await age(doorstep, owner, method === 'sms' ? 301 : 601)
  }
  return { begun, given }
}

/** Codes that are bound to no challenge are good for one use in any of the owner's own. */
const isUnbound = (method: Method): boolean => method === 'totp' || method === 'recovery_code'

function expectedAt(kind: Kind, method: Method): string {
  if (kind === 'right') return '200'
  if (kind === 'expired') return method === 'sms' ? '410 code_expired' : method === 'totp' ? wrong : over
  return isUnbound(method) && /challenge|purpose/.test(kind) ? '200' : wrong
}

/** Whether a challenge takes another answer after this one. */
const livesOn = (outcome: string): boolean => outcome === wrong || outcome === unheard

/** The owner's own answer, after one was refused. */
async function rightAfter(outcome: string, begun: Answer, { owner, method, ceremony }: Cell): Promise<Answer> {
  await forgetSteps(doorstep, owner)
  if (livesOn(outcome)) return prove(begun.body, rightAnswer(doorstep, owner, method, begun.body))
  await age(doorstep, owner, 61)
  const again = await ceremony.begin(owner, method)
  return prove(again.body, rightAnswer(doorstep, owner, method, again.body))
}

type Cell = { owner: Owner; method: Method; ceremony: Ceremony }

/** Every method, in a test of its own, with every kind of answer. */
function everyCell(t: Test, cell: (t: Test, method: Method, kind: Kind) => Promise<void>): Promise<unknown> {
  return methodNames.reduce<Promise<unknown>>(
    (before, method) =>
      before.then(() =>
        t.test(method, async (t) => {
          for (const kind of kinds) await cell(t, method, kind)
        }),
      ),
    Promise.resolve(),
  )
}

t.test('login: whoever has the password gets in with no answer but the owner’s own, new and in time', async (t) => {
  const ceremony = { begin: byLogin, beginOther: byAnyStepUp }
  await everyCell(t, async (t, method, kind) => {
    const owner = await createOwner(doorstep)
    const { begun, given } = await answerOf(kind, { owner, method, ceremony })
    const outcome = shown(await prove(begun.body, given))
    t.equal(outcome, expectedAt(kind, method), kind)
    if (outcome === '200') return
    t.equal(
      shown(await rightAfter(outcome, begun, { owner, method, ceremony })),
      '200',
      `${kind}: then the owner’s own`,
    )
  })
})

t.test('step-up: a stolen session becomes no fresh one', async (t) => {
  const ceremony = { begin: byStepUp, beginOther: byLogin }
  await everyCell(t, async (t, method, kind) => {
    const owner = await createOwner(doorstep)
    if (method === 'email') {
      t.equal(shown(await byStepUp(owner, method)), unheard, 'a mail raises no session')
      const { body } = await byStepUp(owner, 'totp')
      const code = sentCode(doorstep, body.pending_token, 'email')
      t.equal(shown(await prove(body, { method, code })), unheard, kind)
      return
    }
    const token = await accessOf(owner)
    const { begun, given } = await answerOf(kind, { owner, method, ceremony })
    await sql(`UPDATE sessions SET authenticated_at = now() - interval '1 hour' WHERE user_id = $1`, [owner.id])
    const isFresh = async () => (await call(doorstep, '/logout', { token, body: { scope: 'others' } })).status === 204
    const outcome = shown(await prove(begun.body, given))
    t.equal(outcome, expectedAt(kind, method), kind)
    t.equal(await isFresh(), outcome === '200', `${kind}: fresh only after a right one`)
    if (outcome === '200') return
    t.equal(
      shown(await rightAfter(outcome, begun, { owner, method, ceremony })),
      '200',
      `${kind}: then the owner’s own`,
    )
    t.equal(await isFresh(), true)
  })
})

t.test('removal: a session that is not fresh takes no factor away, whatever it answers', async (t) => {
  const ceremony = { begin: byStepUp, beginOther: byLogin }
  await everyCell(t, async (t, method, kind) => {
    const owner = await createOwner(doorstep)
    const token = await accessOf(owner)
    const [factor] = await sql('SELECT id FROM factors WHERE user_id = $1 ORDER BY method <> $2 LIMIT 1', [
      owner.id,
      method,
    ])
    const remove = async () => shown(await call(doorstep, `/factors/${factor?.id}`, { method: 'DELETE', token }))
    if (method === 'email') {
      await age(doorstep, owner, 601)
      t.equal(shown(await byStepUp(owner, method)), unheard)
      t.equal(await remove(), stale, kind)
      return
    }
    const { begun, given } = await answerOf(kind, { owner, method, ceremony })
    await sql(`UPDATE sessions SET authenticated_at = now() - interval '1 hour' WHERE user_id = $1`, [owner.id])
    t.equal(await remove(), stale, `${kind}: before any answer`)
    const outcome = shown(await prove(begun.body, given))
    t.equal(outcome, expectedAt(kind, method), kind)
    if (outcome !== '200') {
      t.equal(await remove(), stale, `${kind}: after it`)
      t.equal(
        shown(await rightAfter(outcome, begun, { owner, method, ceremony })),
        '200',
        `${kind}: then the owner’s own`,
      )
    }
    // Another factor's challenges end with it, so the login that still offers it is begun before.
    const waiting = await byLogin(owner, method === 'passkey' ? 'totp' : 'passkey')
    t.equal(await remove(), '204', `${kind}: and removes it`)
    t.equal(shown(await prove(waiting.body, { code: '000000', method: 'totp' })), over, 'what was begun before is over')
    t.equal((await sql('SELECT FROM factors WHERE id = $1', [factor?.id])).length, 0)
  })
})

const enrollable: readonly Method[] = ['passkey', 'totp', 'sms']

/** A factor that is being set up, and what proves it. */
type SetUp = { begun: Answer; given: Given; phone: string; secret: string; device: Owner['device'] }

async function setUp(token: string, method: Method): Promise<SetUp> {
  const phone = freshPhone()
  const device = createAuthenticator({ origin })
  const body = method === 'sms' ? { method, phone } : { method }
  const begun = await call(doorstep, '/factors', { token, body })
  if (begun.status !== 200) throw new Error(`${method}: ${shown(begun)}`)
  const secret = String(begun.body.challenge.setup?.secret ?? '')
  const given: Given =
    method === 'passkey'
      ? { credential: device.register(begun.body.challenge.setup.public_key) }
      : { code: method === 'totp' ? totpCode(secret) : codeFor(doorstep, phone) }
  return { begun, given, phone, secret, device }
}

/** An answer of this kind to an enrolment: `replaces` whether the owner has such a factor. */
async function enrolmentAnswer(kind: Kind, owner: Owner, method: Method, replaces: boolean) {
  const token = await accessOf(owner)
  if (kind === 'used') {
    const before = await setUp(token, method)
    const first = await prove(before.begun.body, before.given)
    if (first.status !== 200) throw new Error(`the first use: ${shown(first)}`)
    if ((await prove(before.begun.body, before.given)).status !== 401)
      throw new Error('one enrolment was finished twice')
    return { mine: await setUp(token, method), given: before.given, kept: before }
  }
  if (kind === "another challenge's") {
    const before = await setUp(token, method)
    await age(doorstep, owner, 61)
    return { mine: await setUp(token, method), given: before.given, kept: null }
  }
  const mine = await setUp(token, method)
  if (kind === "another user's") {
    const eve = await createOwner(doorstep)
    return { mine, given: (await setUp(await accessOf(eve), method)).given, kept: null }
  }
  if (kind === "another purpose's") {
    const by = replaces ? method : 'recovery_code'
    const { method: named, ...given } = rightAnswer(doorstep, owner, by, (await byLogin(owner, by)).body)
    return { mine, given: replaces ? given : { ...given, ...(named && { method: named }) }, kept: null }
  }
  if (kind === 'wrong') {
    if (method !== 'passkey') return { mine, given: wrongOf(mine.given), kept: null }
    const { public_key: options } = mine.begun.body.challenge.setup
    const credential = createAuthenticator({ origin: 'https://evil.example' }).register(options)
    return { mine, given: { credential }, kept: null }
  }
  if (kind === 'expired' && method === 'totp') return { mine, given: { code: oldTotp(mine.secret) }, kept: null }
  if (kind === 'expired') await age(doorstep, owner, method === 'sms' ? 301 : 601)
  return { mine, given: mine.given, kept: null }
}

function expectedOfEnrolment(kind: Kind, method: Method, replaces: boolean): string {
  if (kind === 'right') return '200'
  if (kind === "another purpose's" && !replaces) return unheard
  if (kind === 'expired') return method === 'sms' ? '410 code_expired' : method === 'totp' ? wrong : over
  return wrong
}

for (const replaces of [false, true]) {
  const name = replaces
    ? 'replacement: nobody puts a factor in the place of the owner’s without its own proof'
    : 'enrolment: nobody binds a factor without its own proof'
  t.test(name, async (t) => {
    await everyCell(t, async (t, method, kind) => {
      const others = enrollable.filter((it) => replaces || it !== method)
      const owner = await createOwner(doorstep, others)
      const factors = () => sql('SELECT id, method, phone FROM factors WHERE user_id = $1 ORDER BY id', [owner.id])
      if (!enrollable.includes(method)) {
        const answer = await call(doorstep, '/factors', { token: await accessOf(owner), body: { method } })
        t.equal(shown(answer), method === 'email' ? unheard : '200', `${kind}: nothing to prove`)
        t.equal((await factors()).length, 3)
        return
      }
      const { mine, given, kept } = await enrolmentAnswer(kind, owner, method, replaces)
      const before = await factors()
      const answer = await prove(mine.begun.body, given)
      t.equal(shown(answer), expectedOfEnrolment(kind, method, replaces), kind)
      if (answer.status !== 200) t.same(await factors(), before, `${kind}: nothing has changed`)
      if (replaces && answer.status !== 200) {
        // The old one is still the owner's: of a used one, what it was proven with last.
        const holder = kept === null ? owner : { ...owner, phone: kept.phone, secret: kept.secret, device: kept.device }
        await forgetSteps(doorstep, owner)
        await age(doorstep, owner, 61)
        const old = await loginBy(doorstep, holder, method, { from: '203.0.113.44' })
        t.equal(
          shown(await prove(old.body, rightAnswer(doorstep, holder, method, old.body))),
          '200',
          `${kind}: the old one works`,
        )
      }
      let last = mine
      if (answer.status !== 200) {
        if (!livesOn(shown(answer))) {
          sessions.delete(`${owner.id} false`)
          await age(doorstep, owner, 61)
          last = await setUp(await accessOf(owner), method)
        }
        t.equal(shown(await prove(last.begun.body, last.given)), '200', `${kind}: then the owner’s own`)
      }
      await forgetSteps(doorstep, owner)
      await age(doorstep, owner, 61)
      const next = await byLogin(owner, method)
      const holder = { ...owner, phone: last.phone, secret: last.secret, device: last.device }
      if (replaces && method === 'totp') {
        const old = { method, code: totpCode(owner.secret) }
        t.equal(shown(await prove(next.body, old)), wrong, `${kind}: the old one is dead`)
      }
      if (method === 'sms') {
        const code = sentCode(doorstep, next.body.pending_token, method)
        t.equal(codeFor(doorstep, last.phone), code, `${kind}: texts go to the new number`)
        t.notOk(
          textsTo(doorstep, owner.phone).some((text) => text.includes(code)),
          `${kind}: and not to the old one`,
        )
      }
      t.equal(
        shown(await prove(next.body, rightAnswer(doorstep, holder, method, next.body))),
        '200',
        `${kind}: the new one counts`,
      )
    })
  })
}

/** The same token as it was five minutes ago and more. */
function older(token: string): string {
  const { iat, exp, ...claims } = part(token, 1)
  const key = services.secrets.current('pending-token').key.toString('base64url')
  return forge(part(token, 0), { ...claims, iat: Number(iat) - 331, exp: Number(exp) - 331 }, hmac(key))
}

t.test('passwordless: a passkey of this user, for this start, once; nothing else', async (t) => {
  const start = () => call(doorstep, '/login/passkey', { body: {} })
  const refused = '401 invalid_credentials'
  await everyCell(t, async (t, method, kind) => {
    const owner = await createOwner(doorstep)
    const { body } = await start()
    const options = body.challenge.public_key
    const finish = (given: Given, token = body.pending_token) => call(doorstep, '/login/2fa', { token, body: given })
    if (method !== 'passkey') {
      const other = await byLogin(owner, method)
      const given = rightAnswer(doorstep, owner, method, other.body)
      t.equal(shown(await finish(given)), unheard, kind)
      t.equal(shown(await finish({ code: given.code ?? '' })), unheard, `${kind}: not named`)
      t.equal(shown(await finish({ credential: owner.device.assert(options) })), '200', `${kind}: then the owner’s own`)
      return
    }
    const right = { credential: owner.device.assert(options) }
    const eve = await createOwner(doorstep)
    const cases: Record<Kind, () => Promise<[string, Answer]>> = {
      right: async () => ['200', await finish(right)],
      wrong: async () => [refused, await finish(wrongOf(right))],
      expired: async () => [over, await finish(right, older(body.pending_token))],
      used: async () => {
        t.equal(shown(await finish(right)), '200')
        return [over, await finish({ credential: owner.device.assert(options) })]
      },
      "another user's": async () => {
        const { userHandle } = eve.device.assert(options).response
        return [refused, await finish({ credential: owner.device.assert(options, { userHandle: String(userHandle) }) })]
      },
      "another challenge's": async () => {
        const { body: other } = await start()
        return [refused, await finish({ credential: owner.device.assert(other.challenge.public_key) })]
      },
      "another purpose's": async () => {
        const behind = await byLogin(owner, 'passkey')
        return [refused, await finish({ credential: owner.device.assert(behind.body.challenge.public_key) })]
      },
    }
    const [expected, answer] = await cases[kind]()
    t.equal(shown(answer), expected, kind)
    if (expected === '200') return
    const again = kind === 'used' ? (await start()).body : body
    const owned = { credential: owner.device.assert(again.challenge.public_key) }
    t.equal(shown(await finish(owned, again.pending_token)), '200', `${kind}: then the owner’s own`)
  })
})
