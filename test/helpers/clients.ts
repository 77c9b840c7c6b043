import { createClient, type GivenClient } from '../../src/features/admin/clients/create-client.ts'
import { type Scope, scopes } from '../../src/scopes.ts'
import type { Doorstep } from './doorstep.ts'
import { type Answer, call } from './story.ts'

/** A backend, with what it sends. */
export type Backend = { id: string; secret: string; basic: string }

export const basicOf = (id: string, secret: string): string =>
  `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`

/** A new client with these scopes, all without a word. */
export async function makeBackend(
  { services }: Pick<Doorstep, 'services'>,
  given: Partial<Omit<GivenClient, 'scopes'>> & { scopes?: readonly Scope[] } = {},
): Promise<Backend> {
  const client = { name: 'a backend', expires: null, networks: [], ...given, scopes: [...(given.scopes ?? scopes)] }
  const { id, secret } = await createClient(services, client)
  return { id, secret, basic: basicOf(id, secret) }
}

/** What a backend calls: `DELETE /admin/users/…`. */
export function ask(
  doorstep: Pick<Doorstep, 'app'>,
  { basic }: Pick<Backend, 'basic'>,
  what: string,
  body?: unknown,
  more: { from?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const [method = '', path = ''] = what.split(' ')
  return call(doorstep, path, {
    method: method as 'POST',
    headers: { authorization: basic, ...more.headers },
    ...(body !== undefined && { body }),
    ...(more.from !== undefined && { from: more.from }),
  })
}
