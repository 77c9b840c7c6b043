import { changeAccount } from '../../src/features/accounts/change-account.ts'
import { inviteUser } from '../../src/features/accounts/invite-user.ts'
import type { Doorstep } from './doorstep.ts'
import { mailsTo } from './links.ts'
import { freshAddress, ghostEmail } from './password-guesses.ts'
import { type Answer, call, createUser, signIn } from './story.ts'

export type Asking = '/register' | '/password/forgot'

/** Both calls by which anybody has a link mailed to any address. */
export const askings: readonly Asking[] = ['/register', '/password/forgot']

/** One of them, from a network of its own unless told otherwise. */
export const ask = (
  doorstep: Pick<Doorstep, 'app'>,
  path: Asking,
  email: string,
  more: { from?: string; body?: object; headers?: Record<string, string> } = {},
): Promise<Answer> =>
  call(doorstep, path, {
    ...{ from: more.from ?? freshAddress(), body: { email, ...more.body } },
    ...(more.headers !== undefined && { headers: more.headers }),
  })

/** Everything that there can be at an address: what is asked for each must not show which it is. */
export async function everySort(doorstep: Doorstep): Promise<Record<string, string>> {
  const { services } = doorstep
  const [account, invited, disabled, leaving] = [
    await createUser(doorstep),
    { email: `invited-${services.random.uuid()}@example.com` },
    await createUser(doorstep),
    await createUser(doorstep),
  ]
  await inviteUser(services, invited)
  await changeAccount(services, { email: disabled.email, edit: { disabled: true }, outcome: 'disabled' })
  const { body } = await signIn(doorstep, leaving)
  const left = await call(doorstep, '/me', { method: 'DELETE', token: body.access_token })
  if (left.status !== 202) throw new Error(`leaving: ${left.status} ${left.body.code}`)
  await mailsTo(doorstep, '')
  return {
    'no account': ghostEmail(),
    'an account': account.email,
    'an invited account': invited.email,
    'a disabled account': disabled.email,
    'an account being erased': leaving.email,
  }
}

/** Lets `seconds` go by for the mails that an address was to be sent, and the links in them. */
export async function ageMails({ sql }: Pick<Doorstep, 'sql'>, address: string, seconds: number): Promise<void> {
  await sql(
    `WITH age AS (SELECT $2::double precision * interval '1 second' AS by),
       links AS (UPDATE mail_links SET created_at = created_at - by, expires_at = expires_at - by, ended_at = ended_at - by FROM age WHERE email = $1)
     UPDATE mails SET created_at = created_at - by, next_try_at = next_try_at - by, claimed_until = claimed_until - by FROM age WHERE address = $1`,
    [address, seconds],
  )
}
