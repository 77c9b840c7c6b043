import t from 'tap'
import { systemRandom } from '../../src/system.ts'
import { type Doorstep, startDoorstep, testKeys } from '../helpers/doorstep.ts'
import { createUser, login } from '../helpers/story.ts'
import { together } from '../helpers/together.ts'

t.setTimeout(300_000)

// A stranger guesses a password while the operator changes SECRET_KEYS, replica by replica. Failed passwords are counted
// under a keyed hash of the e-mail: were each replica to count under its own first key, he would have the free guesses
// of each of them, and all of them again after the change.

const k1 = testKeys.SECRET_KEYS
const k2 = `k2:${systemRandom.bytes(32).toString('base64')}`
const old = await startDoorstep(t)
const start = (SECRET_KEYS: string) => startDoorstep(t, { database: old.database, env: { SECRET_KEYS } })
const known = await start(`${k1},${k2}`)
const used = await start(`${k2},${k1}`)
const after = await start(k2)

const guess = async (replica: Doorstep, user: { email: string }): Promise<number> =>
  (await login(replica, { ...user, password: 'this is not the password' })).status

/** How many guesses are evaluated of `tries`, at these replicas in turn. */
async function evaluated(replicas: Doorstep[], user: { email: string }, tries = 12): Promise<number> {
  let count = 0
  for (let n = 0; n < tries; n += 1)
    count += (await guess(replicas[n % replicas.length] as Doorstep, user)) === 401 ? 1 : 0
  return count
}

t.test('a stranger has no more guesses while replicas have different SECRET_KEYS', async (t) => {
  for (const [name, replicas] of Object.entries({
    'old and known': [old, known],
    'known and used': [known, used],
    'old and used, all at once': [old, used],
    'all three': [old, known, used],
    'used and after': [used, after],
  })) {
    t.equal(await evaluated(replicas, await createUser(old)), 5, name)
    t.equal(
      await evaluated(replicas, { email: `nobody-${name.replaceAll(/\W/g, '')}@example.com` }),
      5,
      `${name}, made up`,
    )
  }
})

t.test('nor does his counter start anew with the new key: the lock of one is the lock of the next', async (t) => {
  const user = await createUser(old)
  t.equal(await evaluated([used], user), 5)
  for (const replica of [old, known, after]) t.equal(await guess(replica, user), 429)
  t.equal((await login(after, user)).status, 429, 'also for the right password')
})

t.test('the owner loses nothing by it: each right password gives back what it took, under every key', async (t) => {
  const user = await createUser(old, { twoFactor: 'off' })
  for (const replica of [old, known, used, after, used, known, old, used]) {
    t.equal((await login(replica, user)).status, 200)
  }
  t.equal(await evaluated([used], user), 5, 'and all five are left')
})

t.test(
  'replicas take the counters of one e-mail in one order, whatever the order of their keys: none waits in a circle',
  async (t) => {
    const emails = Array.from({ length: 20 }, (_, n) => `user-${n}@example.com`)
    const rowsOf = ({ services }: Doorstep) => emails.map((email) => services.loginThrottle.identifyAll(email))
    t.same(rowsOf(known), rowsOf(used))
    const user = await createUser(old, { twoFactor: 'off' })
    const statuses = await together(24, async (n) => (await login(n % 2 === 0 ? known : used, user)).status)
    t.same(
      [...new Set(statuses)].filter((status) => status !== 200 && status !== 429),
      [],
      'neither an error nor a wait',
    )
  },
)
