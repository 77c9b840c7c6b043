import { createHash } from 'node:crypto'
import t from 'tap'
import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { inviteUser } from '../../src/features/accounts/invite-user.ts'
import { sendDueMails } from '../../src/features/mails/mail-sender.ts'
import { attempt } from '../../src/features/mails/send-mail.ts'
import { dump, plantDevice } from '../helpers/credentials.ts'
import { type Doorstep, startDoorstep } from '../helpers/doorstep.ts'
import { meetAtRow } from '../helpers/hold-row.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { ageMails, ask } from '../helpers/mail-asks.ts'
import { freshAddress, ghostEmail } from '../helpers/password-guesses.ts'
import { type Answer, call, createUser, login, signIn } from '../helpers/story.ts'
import { isOverloaded, repeat, tally, together } from '../helpers/together.ts'

t.setTimeout(300_000)

const env = { APP_URL: 'https://app.example/door/', TRUST_PROXY: '127.0.0.1/32' }
const doorstep = await startDoorstep(t, { env })
const { sql, services, database } = doorstep
const second = await startDoorstep(t, { database, env })
const closed = await startDoorstep(t, { database, env: { ...env, REGISTRATION: 'closed' } })
const password = 'a long sentence that only she knows'

const setBy = (token: string, more: object = {}, at: Pick<Doorstep, 'app'> = doorstep): Promise<Answer> =>
  call(at, '/password/set', { from: freshAddress(), body: { token, password, ...more } })

const expired = { status: 410, body: { code: 'link_expired' } }
const usersAt = async (email: string): Promise<number> =>
  (await sql('SELECT FROM users WHERE email = $1', [email])).length

/** Asks, and reads the link in the mailbox. */
async function linkTo(email: string, path: '/register' | '/password/forgot' = '/password/forgot'): Promise<string> {
  const { status } = await ask(doorstep, path, email)
  if (status !== 202) throw new Error(`asked: ${status}`)
  return mailedToken(doorstep, email)
}

/** The links in all mails to an address that set a password or confirm it, the newest first. */
const linksTo = async (email: string): Promise<string[]> =>
  (await mailsTo(doorstep, email)).flatMap(
    ({ text }) => /(?:set-password|confirm-email)#token=(dsm_[\w-]{43})$/m.exec(text)?.[1] ?? [],
  )

const disable = (email: string, disabled = true) =>
  changeAccount(services, { email, edit: { disabled }, outcome: disabled ? 'disabled' : 'enabled' })

t.test(
  "a link leads to the application's page, whatever host a request names, and is nowhere but in the mail",
  async (t) => {
    const email = ghostEmail()
    const evil = 'evil.example'
    const headers = {
      host: evil,
      'x-forwarded-host': evil,
      'x-forwarded-proto': 'http',
      forwarded: `host=${evil}`,
      origin: `https://${evil}`,
      referer: `https://${evil}/`,
    }
    await ask(doorstep, '/register', email, {
      from: '127.0.0.1',
      headers: { ...headers, 'x-forwarded-for': '203.0.113.9' },
    })
    const [mail] = await mailsTo(doorstep, email)
    const [, url = '', token = ''] = /^((?:https?:\S+)#token=(dsm_[\w-]{43}))$/m.exec(mail?.text ?? '') ?? []
    t.equal(url, `https://app.example/door/set-password#token=${token}`)
    t.equal(Buffer.from(token.slice(4), 'base64url').length, 32, '256 bits')
    t.notMatch(JSON.stringify(mail), evil)

    const hash = createHash('sha256').update(token).digest('hex')
    const whatIsKept = async () => ({ rows: await dump(doorstep), logs: doorstep.logs.join('') })
    const before = await whatIsKept()
    t.match(before.rows, hash, 'its hash is kept')
    t.equal((await setBy(token)).status, 200)
    const after = await whatIsKept()
    for (const kept of [before.rows, before.logs, after.rows, after.logs]) {
      t.notOk(kept.includes(token) || kept.includes(token.slice(4)), 'itself it is nowhere')
    }
    t.notOk(after.logs.includes(hash), 'no log has so much as the hash')
    t.same(await sql('SELECT FROM mails WHERE position($1 in mails::text) > 0', [hash]), [], 'nor has the outbox')
  },
)

t.test('pre-hijacking: whoever registers the address of somebody else first has gained nothing', async (t) => {
  const email = ghostEmail()
  const eve = await createUser(doorstep)
  const evesDevice = await plantDevice(doorstep, eve)
  const evesSession = String((await signIn(doorstep, eve)).body.access_token)
  await ask(doorstep, '/register', email, { body: { locale: 'de', device_token: evesDevice } })
  const early = await mailedToken(doorstep, email)
  t.equal(await usersAt(email), 0, 'no row before the mailbox is proven')
  t.match(await call(doorstep, '/me/email', { method: 'PUT', token: evesSession, body: { email } }), { status: 202 })
  const confirm = await mailedToken(doorstep, email, 'confirm-email')
  t.equal(await usersAt(email), 0)

  const own = await linkTo(ghostEmail(), '/register')
  t.match(await setBy(own, { email }), { status: 400 }, 'her own link is for her own address')
  t.match(await setBy(`dsm_${'A'.repeat(43)}`), expired, 'a guessed one for none')
  t.match(await login(doorstep, { email, password }), { status: 401 })

  await ageMails(doorstep, email, 61)
  const mine = await linkTo(email, '/register')
  t.match(await setBy(mine), { status: 200, body: { status: '2fa_enrolment_required' } })
  t.match(
    await setBy(early, { password: 'what eve would like to have' }),
    expired,
    'the link that she had mailed is over',
  )
  t.match(
    await call(doorstep, '/me/email/confirm', { token: evesSession, body: { token: confirm } }),
    expired,
    'so is that of her e-mail change',
  )
  t.match(await login(doorstep, { email, password: 'what eve would like to have' }), { status: 401 })
  t.match(await login(doorstep, { email, password }), { status: 200 })
  t.same(
    await sql('SELECT FROM devices JOIN users u ON u.id = user_id WHERE email = $1', [email]),
    [],
    'her device is not known',
  )
  await ageMails(doorstep, email, 61)
  t.match(await ask(doorstep, '/register', email), { status: 202 })
  t.match(
    (await mailsTo(doorstep, email))[0]?.subject,
    /You already have an account/,
    'the owner is told of the next try',
  )
})

t.test('scanners that open a link, and whatever else is no POST of it, use nothing up', async (t) => {
  const email = ghostEmail()
  const token = await linkTo(email, '/register')
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'] as const) {
    for (const path of [
      `/set-password`,
      `/set-password?token=${token}`,
      `/password/set?token=${token}`,
      `/password/set/${token}`,
    ]) {
      const reply = await doorstep.app.inject({
        method,
        url: path,
        headers: { authorization: `Bearer ${token}`, cookie: `token=${token}` },
      })
      // The page of development, which does nothing before its user has typed a password.
      const isPage = path.startsWith('/set-password') && ['GET', 'HEAD'].includes(method)
      t.ok(
        [isPage ? 200 : 204, 404, 405].includes(reply.statusCode),
        `${method} ${path.replace(token, '…')}: ${reply.statusCode}`,
      )
    }
  }
  const post = (payload: string, type: string, url = '/password/set') =>
    doorstep.app.inject({
      method: 'POST',
      url,
      payload,
      headers: { 'content-type': type, authorization: `Bearer ${token}` },
    })
  t.equal((await post(`token=${token}&password=${password}`, 'application/x-www-form-urlencoded')).statusCode, 415)
  t.equal((await post('{}', 'application/json', `/password/set?token=${token}`)).statusCode, 400)
  t.equal((await post(JSON.stringify({ password }), 'application/json')).statusCode, 400)
  t.match(await setBy(token, { password: 'password1' }), { status: 400 }, 'a common password')
  t.match(await setBy(token, { password: email }), { status: 400 }, 'the address')
  t.match(await setBy(token, { password: 'short' }), { status: 400 })
  t.equal(await usersAt(email), 0)
  t.equal((await setBy(token)).status, 200, 'the owner comes after them')
  t.match(await setBy(token), expired, 'and the link is used')
})

t.test('a link of one kind is none of another, and one that is altered is none', async (t) => {
  const user = await createUser(doorstep)
  const session = await signIn(doorstep, user)
  const { access_token: access, refresh_token: refresh, device_token: device } = session.body
  t.equal((await setBy(await linkTo(user.email))).status, 200)
  const notMe = await mailedToken(doorstep, user.email, 'not-me')
  const again = await signInAgain(user)
  const other = ghostEmail()
  t.equal((await call(doorstep, '/me/email', { method: 'PUT', token: again, body: { email: other } })).status, 202)
  const confirm = await mailedToken(doorstep, other, 'confirm-email')
  await ageMails(doorstep, user.email, 61)
  const reset = await linkTo(user.email)

  const uses = {
    set: (token: string) => setBy(token),
    confirm: (token: string) => call(doorstep, '/me/email/confirm', { token: again, body: { token } }),
    secure: (token: string) => call(doorstep, '/account/secure', { body: { token } }),
  }
  const altered = `${reset.slice(0, -1)}${reset.endsWith('A') ? 'B' : 'A'}`
  const spare = `${reset.slice(0, -1)}${String.fromCharCode(reset.charCodeAt(reset.length - 1) ^ 1)}`
  const nothing = [
    altered,
    spare,
    `${reset} `,
    `\n${reset}`,
    reset.toUpperCase(),
    reset.slice(4),
    `dsm_${reset}`.slice(0, 128),
    String(refresh),
    String(device),
  ]
  for (const token of nothing) {
    for (const [name, use] of Object.entries(uses)) {
      const { status, body } = await use(token)
      t.ok([400, 410].includes(status), `${name}: ${status} ${body.code}`)
    }
  }
  for (const token of [confirm, notMe]) t.match(await uses.set(token), expired)
  for (const token of [reset, notMe]) t.match(await uses.confirm(token), expired)
  for (const token of [reset, confirm]) t.match(await uses.secure(token), expired)
  t.match(await call(doorstep, '/me', { token: reset }), { status: 401 }, 'and no link signs anybody in')
  t.equal((await call(doorstep, '/me', { token: access })).status, 401, 'nor does the session of before')

  const stranger = await signIn(doorstep, await createUser(doorstep))
  t.match(
    await call(doorstep, '/me/email/confirm', { token: stranger.body.access_token, body: { token: confirm } }),
    expired,
  )
  t.match(
    await uses.confirm(confirm),
    { status: 200, body: { email: other } },
    'each of them is still good for its own',
  )
  t.match(await uses.set(reset), expired, 'but for the reset link of the address that was left')
  t.match(await uses.secure(notMe), { status: 200 })
})

/** A fresh session of somebody whose password was set by a link; the text before it is forgotten. */
async function signInAgain(user: Awaited<ReturnType<typeof createUser>>): Promise<string> {
  await sql(`UPDATE sms_messages SET reserved_at = reserved_at - interval '61 seconds' WHERE user_id = $1`, [user.id])
  return String((await signIn(doorstep, { ...user, password })).body.access_token)
}

t.test('a link lives as long as its mail says, and not a second more', async (t) => {
  const lives = { register: 86_400, forgot: 3_600, invite: 604_800 }
  const words = { register: /within 24 hours/, forgot: /within 1 hour/, invite: /within 7 days/ }
  for (const [kind, life] of Object.entries(lives) as ['register' | 'forgot' | 'invite', number][]) {
    for (const [seconds, answer] of [
      [life - 60, { status: 200 }],
      [life + 1, expired],
    ] as const) {
      const email = kind === 'forgot' ? (await createUser(doorstep)).email : `${services.random.uuid()}@example.com`
      if (kind === 'invite') await inviteUser(services, { email })
      const token =
        kind === 'invite'
          ? await mailedToken(doorstep, email)
          : await linkTo(email, kind === 'register' ? '/register' : '/password/forgot')
      t.match((await mailsTo(doorstep, email))[0]?.text, words[kind])
      await ageMails(doorstep, email, seconds)
      t.match(await setBy(token), answer, `${kind} after ${seconds} s`)
    }
  }
})

t.test('one use ends all links of its kind to that address, those of others live on', async (t) => {
  const [user, other] = [await createUser(doorstep), await createUser(doorstep)]
  const first = await linkTo(user.email)
  const others = await linkTo(other.email)
  await ageMails(doorstep, user.email, 61)
  const latest = await linkTo(user.email, '/register')
  t.not(first, latest)
  t.match(await setBy(first), { status: 200, body: { status: '2fa_required' } }, 'the older one is as good')
  t.match(await setBy(latest), expired)
  t.match(await setBy(others), { status: 200 })
})

t.test(
  'what has become of the address since decides what a link is: the second factor is asked for, the disabled get nothing',
  async (t) => {
    const email = ghostEmail()
    const token = await linkTo(email, '/register')
    const user = await createUser(doorstep, { email })
    const set = await setBy(token)
    t.match(
      set,
      { status: 200, body: { status: '2fa_required', methods: ['sms'] } },
      'a register link is a reset link by now',
    )
    t.match(await login(doorstep, user), { status: 401 }, 'the old password is over')

    const closing = await createUser(doorstep)
    const reset = await linkTo(closing.email)
    await disable(closing.email)
    t.match(await setBy(reset), expired)
    await disable(closing.email, false)
    t.match(await setBy(reset), expired, 'nor when it is enabled again')
    t.match(await login(doorstep, closing), { status: 200 }, 'whose password is the old one')

    const erased = await createUser(doorstep)
    const late = await linkTo(erased.email)
    await sql('DELETE FROM users WHERE id = $1', [erased.id])
    t.match(await setBy(late), expired)
    t.equal(await usersAt(erased.email), 0, 'nobody comes back by an old link')
  },
)

t.test('a mail says what is true when it goes out, not when it was asked for', async (t) => {
  const [joined, disabled, moved] = [ghostEmail(), await createUser(doorstep), await createUser(doorstep)]
  for (const email of [joined, disabled.email]) await ask(doorstep, '/register', email)
  await services.store.passwords.reset(moved.email, { force: false }, {} as never, {
    type: 'user.changed',
    outcome: 'test',
  })
  await createUser(doorstep, { email: joined })
  await disable(disabled.email)
  await sql('UPDATE users SET email = $1 WHERE id = $2', [ghostEmail(), moved.id])
  t.match((await mailsTo(doorstep, joined))[0], { subject: /You already have an account/, text: /within 1 hour/ })
  t.match(
    (await mailsTo(doorstep, disabled.email)).find(({ subject }) => /closed/.test(subject)),
    { text: /the account is closed/ },
  )
  t.same(await linksTo(disabled.email), [])
  t.same(await mailsTo(doorstep, moved.email), [], 'the mailbox that the account has left is told nothing of it')
})

t.test('where nobody may register, a link that would is none, wherever it was mailed', async (t) => {
  t.match(await ask(closed, '/register', ghostEmail()), { status: 404, body: { code: 'not_found' } })
  const email = ghostEmail()
  const token = await linkTo(email, '/register')
  t.match(await setBy(token, {}, closed), expired)
  t.equal(await usersAt(email), 0)
  const queued = ghostEmail()
  await ask(doorstep, '/register', queued)
  await sendDueMails(closed.services)
  t.same(
    closed.services.mailbox?.sent().filter(({ to }) => to === queued),
    [],
    'one that is sent from there says nothing',
  )
  const user = await createUser(doorstep)
  const reset = await linkTo(user.email)
  t.match(await setBy(reset, {}, closed), { status: 200 }, 'who has an account has it')
})

t.test('without mail no call that mails is there', async (t) => {
  const silent = await startDoorstep(t, { database, env: { MAIL_PROVIDER: 'none', REGISTRATION: 'closed' } })
  const user = await createUser(silent)
  const { body } = await signIn(silent, user)
  for (const [method, path, given] of [
    ['POST', '/register', { email: user.email }],
    ['POST', '/password/forgot', { email: user.email }],
    ['POST', '/password/set', { token: 'dsm_x', password }],
    ['PUT', '/me/email', { email: ghostEmail() }],
    ['POST', '/me/email/confirm', { token: 'dsm_x' }],
    ['POST', '/account/secure', { token: 'dsm_x' }],
  ] as const) {
    const answer = await call(silent, path, { method, token: body.access_token, body: given })
    t.match(answer, { status: 404, body: { code: 'not_found' } }, `${method} ${path}`)
  }
})

t.test('an e-mail change that was called off while its mail was going out leaves no link behind', async (t) => {
  const { body } = await signIn(doorstep, await createUser(doorstep))
  const change = (email: string) =>
    call(doorstep, '/me/email', { method: 'PUT', token: body.access_token, body: { email } })
  const [first, latest] = [ghostEmail(), ghostEmail()]
  await sendDueMails(services)
  await change(first)
  const claimed = (await services.store.mails.claimDue(10)).find(({ address }) => address === first)
  if (claimed === undefined) throw new Error('nobody has taken it')
  await change(latest)
  await attempt(services, claimed)
  t.same(await linksTo(first), [])
  const token = await mailedToken(doorstep, latest, 'confirm-email')
  t.match(await call(doorstep, '/me/email/confirm', { token: body.access_token, body: { token } }), { status: 200 })
})

t.test('what is no address, or no language, is refused before anything is written', async (t) => {
  const [before] = await sql('SELECT count(*) FROM mails')
  const evil = [
    'a@example.com\r\nBcc: eve@example.org',
    'a@example.com,eve@example.org',
    'a@example.com eve@example.org',
    '"Eve" <a@example.com>\n',
  ]
  for (const email of [
    ...evil,
    'a\u0000@example.com',
    'a\u2028b@example.com',
    'a@example.com/x',
    'a@',
    '@example.com',
    `${'a'.repeat(250)}@example.com`,
  ]) {
    t.match(await ask(doorstep, '/register', email), { status: 400 }, encodeURIComponent(email))
  }
  for (const locale of ['de\r\nX-Evil: 1', '../de', 'de_AT; drop', '', 'd'.repeat(36), '__proto__']) {
    t.match(
      await ask(doorstep, '/register', ghostEmail(), { body: { locale } }),
      { status: 400 },
      JSON.stringify(locale),
    )
  }
  t.same((await sql('SELECT count(*) FROM mails'))[0], before)
})

t.test('one mailbox in two spellings is one address; a tag makes another', async (t) => {
  const name = `grace-${services.random.uuid().slice(0, 8)}`
  const canonical = `${name}@xn--bcher-kva.example`
  for (const email of [
    `${name}@bücher.example`,
    ` ${name.toUpperCase()}@XN--BCHER-KVA.example.`,
    `${name}@BÜCHER.example`,
  ]) {
    t.equal((await ask(doorstep, '/register', email)).status, 202)
  }
  t.equal((await mailsTo(doorstep, canonical)).length, 1, 'three asked in a minute, one mail')
  t.equal((await setBy(await mailedToken(doorstep, canonical))).status, 200)
  t.match(await login(doorstep, { email: `${name}@bücher.example`, password }), { status: 200 })
  t.equal(await usersAt(canonical), 1)
  const tagged = `${name}+shop@xn--bcher-kva.example`
  t.equal((await setBy(await linkTo(tagged, '/register'))).status, 200)
  t.equal(await usersAt(tagged), 1)
})

t.test('a mail speaks the language that it was asked for in, else that of its account', async (t) => {
  const german = await createUser(doorstep)
  await sql(`UPDATE users SET locale = 'de' WHERE id = $1`, [german.id])
  for (const [email, locale, subject] of [
    [ghostEmail(), 'de-AT', /Registrierung/],
    [ghostEmail(), 'fr', /Finish your registration/],
    [ghostEmail(), undefined, /Finish your registration/],
    [german.email, undefined, /Sie haben ein Konto|Konto/],
    [german.email, 'en', /You already have an account/],
  ] as const) {
    await ask(doorstep, '/register', email, { body: locale === undefined ? {} : { locale } })
    t.match((await mailsTo(doorstep, email))[0]?.subject, subject, String(locale))
    await ageMails(doorstep, email, 61)
  }
})

t.test('two uses at once, on two replicas: exactly one success, and one account', async (t) => {
  const replica = (index: number): Doorstep => (index % 2 === 0 ? doorstep : second)
  const made = async (email: string) =>
    (
      await sql<{ n: number }>(
        `SELECT count(*)::integer AS n FROM audit_events e JOIN users u ON u.id = e.user_id WHERE email = $1 AND e.type = 'user.created'`,
        [email],
      )
    )[0]?.n
  for (const kind of ['registers', 'resets'] as const) {
    for (const count of [1, 2]) {
      await repeat(t, 1, () => race(kind, count))
    }
  }
  async function race(kind: string, count: number): Promise<boolean> {
    const email = kind === 'registers' ? ghostEmail() : (await createUser(doorstep)).email
    const tokens = [await linkTo(email, '/register')]
    if (count === 2) {
      await ageMails(doorstep, email, 61)
      tokens.push(await linkTo(email, '/register'))
    }
    const uses = database.isReal ? 12 : 4
    const row = { text: 'SELECT FROM mail_links WHERE email = $1 FOR UPDATE', values: [email], waiters: 6 }
    const answers = await meetAtRow(doorstep, row, () =>
      together(uses, (i) => setBy(tokens[i % count] as string, { password: `${password} ${i}` }, replica(i >> 1))),
    )
    if (isOverloaded(answers)) return false
    t.same(tally(answers), { '200': 1, '410 link_expired': uses - 1 }, `${count} link that ${kind}`)
    const winner = answers.findIndex(({ status }) => status === 200)
    t.match(
      await login(doorstep, { email, password: `${password} ${winner}` }, { from: freshAddress() }),
      { status: kind === 'registers' ? 200 : /200|429/ },
      'whose password it is',
    )
    t.equal(await usersAt(email), 1)
    t.equal(await made(email), 1)
    return true
  }
})
