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

/** What is counted for an e-mail. `lockSeconds`: the length of the newest lock; `remaining`: what is left of it. */
export type Counted = { failures: number; in_flight: number; lockSeconds: number | null; remaining: number | null }

export async function countedFor({ services, sql }: Tested, email: string): Promise<Counted> {
  const [row] = await sql<Counted>(
    `SELECT failures, in_flight, round(extract(epoch FROM locked_until - charged_at))::integer AS "lockSeconds",
            extract(epoch FROM locked_until - clock_timestamp())::float AS remaining
     FROM login_throttles WHERE identifier = $1`,
    [identifierOf(services, email)],
  )
  return row ?? { failures: 0, in_flight: 0, lockSeconds: null, remaining: null }
}

/** Lets time pass for what is counted for an e-mail. */
export async function passTime({ services, sql }: Tested, email: string, seconds: number): Promise<void> {
  await sql(
    `UPDATE login_throttles SET charged_at = charged_at - $2 * interval '1 second',
            locked_until = locked_until - $2 * interval '1 second' WHERE identifier = $1`,
    [identifierOf(services, email), seconds],
  )
}

/** Lets the lock of an e-mail run to its very end. How long it was, in seconds. */
export async function waitOutLock({ services, sql }: Tested, email: string): Promise<number> {
  const [row] = await sql<{ seconds: number }>(
    `UPDATE login_throttles SET charged_at = charged_at - (locked_until - charged_at), locked_until = charged_at
     WHERE identifier = $1 RETURNING round(extract(epoch FROM locked_until - charged_at))::integer AS seconds`,
    [identifierOf(services, email)],
  )
  if (row?.seconds == null) throw new Error(`${email} is not locked`)
  return row.seconds
}

export async function forget({ services, sql }: Tested, email: string): Promise<void> {
  await sql('DELETE FROM login_throttles WHERE identifier = $1', [identifierOf(services, email)])
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

function identifierOf(services: Tested['services'], email: string): Buffer {
  return services.loginThrottle.identify(canonicalEmail(email))
}
