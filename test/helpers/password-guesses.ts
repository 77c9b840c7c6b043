import { createHash } from 'node:crypto'
import argon2 from 'argon2'
import type { Test } from 'tap'
import { canonicalEmail } from '../../src/security/email.ts'
import type { Doorstep } from './doorstep.ts'
import { type Answer, login } from './story.ts'

type Tested = Pick<Doorstep, 'app' | 'services' | 'sql'>

export const wrongPassword = 'this is not the password'

/** One wrong password, from an address of its own unless told otherwise. */
export const guess = (doorstep: Pick<Doorstep, 'app'>, email: string, from = freshAddress()): Promise<Answer> =>
  login(doorstep, { email, password: wrongPassword }, { from })

let addressesGiven = 0

/** An IPv4 address that no other call gives, in a network of its own (of the first 65,000). */
export function freshAddress(): string {
  addressesGiven += 1
  return `10.${(addressesGiven >> 8) & 255}.${addressesGiven & 255}.${1 + (addressesGiven >> 16)}`
}

let ghostsGiven = 0

/** An e-mail without an account, as long as those of the test users. */
export function ghostEmail(): string {
  ghostsGiven += 1
  return `none-${String(ghostsGiven).padStart(12, '0')}@example.com`
}

/** What is counted under a key. `failures`: those not forgotten yet; `lockSeconds`: what is left of a lock, null without one. */
export type Counted = { failures: number; lockSeconds: number | null }

/** The key of strangers at an e-mail. */
export const emailKey = ({ services }: Pick<Doorstep, 'services'>, email: string): Buffer =>
  services.loginThrottle.identifyAll(canonicalEmail(email))[0] as Buffer

/** The key of a device. */
export const deviceKey = (token: string): Buffer => createHash('sha256').update(token).digest()

export async function countedUnder({ sql }: Pick<Doorstep, 'sql'>, key: Buffer): Promise<Counted> {
  const [row] = await sql<Counted>(
    `SELECT remembered_failures(l, clock_timestamp()) AS failures,
       nullif(greatest(extract(epoch FROM locked_until - clock_timestamp()), 0), 0)::float AS "lockSeconds"
     FROM login_throttles l WHERE identifier = $1`,
    [key],
  )
  return row ?? { failures: 0, lockSeconds: null }
}

/** What is counted of strangers at an e-mail. */
export const countedFor = (doorstep: Tested, email: string): Promise<Counted> =>
  countedUnder(doorstep, emailKey(doorstep, email))

/** Lets time pass for what is counted under a key. */
export async function passTimeUnder({ sql }: Pick<Doorstep, 'sql'>, key: Buffer, seconds: number): Promise<void> {
  await sql(
    `UPDATE login_throttles SET counted_from = counted_from - $2 * interval '1 second',
       locked_until = locked_until - $2 * interval '1 second' WHERE identifier = $1`,
    [key, seconds],
  )
}

/** Lets time pass for what is counted of strangers at an e-mail. */
export const passTime = (doorstep: Tested, email: string, seconds: number): Promise<void> =>
  passTimeUnder(doorstep, emailKey(doorstep, email), seconds)

/** Lets the lock under a key run to its very end. How long it still was, in seconds. */
export async function waitOutLock({ sql }: Pick<Doorstep, 'sql'>, key: Buffer): Promise<number> {
  const [row] = await sql<{ seconds: number }>(
    `WITH rest AS (SELECT locked_until - clock_timestamp() AS by FROM login_throttles WHERE identifier = $1)
     UPDATE login_throttles SET counted_from = counted_from - by, locked_until = locked_until - by FROM rest
     WHERE identifier = $1 RETURNING extract(epoch FROM by)::float AS seconds`,
    [key],
  )
  if (row?.seconds == null) throw new Error('not locked')
  return Math.max(0, row.seconds)
}

export async function forget(doorstep: Tested, email: string): Promise<void> {
  await doorstep.sql('DELETE FROM login_throttles WHERE identifier = $1', [emailKey(doorstep, email)])
}

/** Five wrong passwords: the e-mail is then locked for 30 s. */
export async function lockOut(doorstep: Tested, email: string): Promise<void> {
  for (let n = 1; n <= 5; n += 1) {
    const { status } = await guess(doorstep, email)
    if (status !== 401) throw new Error(`guess ${n}: ${status}`)
  }
}

/** Passwords evaluated so far by all these instances. */
export const evaluations = (...instances: Pick<Doorstep, 'services'>[]): number =>
  instances.reduce((sum, { services }) => sum + services.passwordHash.load().started, 0)

/**
 * Puts `around` in the place of argon2's two functions until the test ends: it is given each computation as it starts.
 */
export function watchHashing(t: Test, around: (compute: () => Promise<unknown>) => Promise<unknown>): void {
  const { hash, verify } = argon2
  const wrap =
    <Args extends unknown[]>(real: (...args: Args) => Promise<unknown>) =>
    (...args: Args) =>
      around(() => real(...args))
  Object.assign(argon2, { hash: wrap(hash), verify: wrap(verify) })
  t.teardown(() => Object.assign(argon2, { hash, verify }))
}
