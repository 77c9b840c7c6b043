import t from 'tap'
import { createAuthenticator } from '../helpers/authenticator.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner } from '../helpers/equipped.ts'
import { enrol, prove } from '../helpers/factors.ts'
import { call, createUser, login, signIn } from '../helpers/story.ts'

t.setTimeout(300_000)

t.test('a passkey that counts backwards gets in; it is recorded, and its owner is told once a day', async (t) => {
  const doorstep = await startDoorstep(t)
  const { config, sql, logs } = doorstep
  const user = await createUser(doorstep)
  const { body } = await signIn(doorstep, user)
  const device = createAuthenticator({ origin: config.passkey.origins[0] ?? '' })
  const begun = await enrol(doorstep, body.access_token, { method: 'passkey' })
  t.equal(
    (await prove(doorstep, begun, { credential: device.register(begun.body.challenge.setup.public_key) })).status,
    200,
  )

  const use = async (path: string, counter: number) => {
    const first = path === '/login' ? await login(doorstep, user) : await call(doorstep, path, { body: {} })
    return prove(doorstep, first, { credential: device.assert(first.body.challenge.public_key, { counter }) })
  }
  const recorded = () =>
    sql(`SELECT factor, outcome, user_id FROM audit_events WHERE type = 'passkey.counter_back' ORDER BY id`)
  const said = () => logs.filter((line) => line.includes('"event":"passkey.counter_back"')).length
  const told = async () =>
    (await sql(`SELECT FROM mails WHERE user_id = $1 AND topic = 'passkey.counter_back'`, [user.id])).length

  t.equal((await use('/login', 7)).status, 200)
  t.equal((await use('/login/passkey', 8)).status, 200)
  t.same(await recorded(), [])
  const row = { factor: 'passkey', outcome: 'accepted', user_id: user.id }
  t.equal((await use('/login', 3)).status, 200, 'as a second factor')
  t.same(await recorded(), [row])
  t.equal((await use('/login/passkey', 3)).status, 200, 'alone')
  t.same(await recorded(), [row, row])
  t.equal(said(), 2, 'in the log')
  t.equal(await told(), 1, 'by mail, once')

  const stored = async () => (await sql(`SELECT counter FROM factors WHERE method = 'passkey'`))[0]?.counter
  t.equal(await stored(), '8', 'and the highest stays')
})

t.test('a copy of a passkey that is used at the same moment is told as well, and no counter falls', async (t) => {
  const doorstep = await startDoorstep(t)
  const owner = await createOwner(doorstep, ['passkey'])
  const { sql } = doorstep
  for (let round = 1; round <= 8; round += 1) {
    const counters = round % 2 === 0 ? [round * 10, round * 10] : [round * 10, round * 10 - 4, round * 10 - 8]
    const begun = await Promise.all(counters.map(() => call(doorstep, '/login/passkey', { body: {} })))
    const answers = await Promise.all(
      begun.map((first, n) => {
        const credential = owner.device.assert(first.body.challenge.public_key, { counter: counters[n] ?? 0 })
        return prove(doorstep, first, { credential })
      }),
    )
    t.same(new Set(answers.map(({ status }) => status)), new Set([200]))
    t.same(await sql(`SELECT counter FROM factors WHERE user_id = $1`, [owner.id]), [{ counter: `${round * 10}` }])
    const seen = await sql(`DELETE FROM audit_events WHERE type = 'passkey.counter_back' RETURNING id`)
    // Whoever comes in the order of the counters is not told apart; equal ones are in every order.
    if (round % 2 === 0) t.equal(seen.length, 1)
  }
})
