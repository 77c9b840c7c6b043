import { isScope, type Scope, scopes } from '../scopes.ts'
import { type Command, type Given, required, serve, text } from './command.ts'
import { usageError } from './failures.ts'

const texts = { type: 'string', multiple: true } as const

/** The commands about clients, which nobody can make and whose secrets nobody can read over HTTP. */
export const clientCommands: Record<string, Command> = {
  'client create': {
    usage: '--name N --scope S [--scope S …] [--expires T] [--network CIDR …]',
    options: { name: text, scope: texts, expires: text, network: texts },
    run: async (given, place) => {
      const { expires } = given
      const client = {
        name: nameIn(given),
        scopes: scopesIn(given),
        expires: typeof expires === 'string' ? expires : null,
        networks: networksIn(given),
      }
      const { createClient } = await import('../features/admin/clients/create-client.ts')
      return serve(place, (services) => createClient(services, client))
    },
  },
  'client list': {
    usage: '',
    options: {},
    run: async (_given, place) => {
      const { listClients } = await import('../features/admin/clients/list-clients.ts')
      return serve(place, listClients)
    },
  },
  'client rotate': {
    usage: '--id ID',
    options: { id: text },
    run: async (given, place) => {
      const id = required(given, 'id')
      const { rotateClient } = await import('../features/admin/clients/rotate-client.ts')
      return serve(place, (services) => rotateClient(services, id))
    },
  },
  'client disable': {
    usage: '--id ID',
    options: { id: text },
    run: async (given, place) => {
      const id = required(given, 'id')
      const { disableClient } = await import('../features/admin/clients/disable-client.ts')
      return serve(place, (services) => disableClient(services, id))
    },
  },
}

function nameIn(given: Given): string {
  const name = required(given, 'name').trim()
  if (name === '' || name.length > 100 || /\p{C}/u.test(name)) throw usageError('--name must have 1 to 100 characters.')
  return name
}

/** Of an option that may come several times, or once with several values: `a b` or `a,b`. */
const listOf = (given: Given, name: string): string[] =>
  [given[name] ?? []].flat().flatMap((value) =>
    String(value)
      .split(/[\s,]+/)
      .filter((it) => it !== ''),
  )

/** None were given: from everywhere. Given and empty, as by an unset variable of a shell, is a slip and must not mean that. */
function networksIn(given: Given): string[] {
  const networks = listOf(given, 'network')
  if (given.network !== undefined && networks.length === 0) throw usageError('--network is empty.')
  return networks
}

/** As they stand in the list of all, each once. */
function scopesIn(given: Given): Scope[] {
  const asked = listOf(given, 'scope')
  if (asked.length === 0) throw usageError('--scope is missing.')
  if (!asked.every(isScope)) throw usageError(`--scope must be of ${scopes.join(', ')}.`)
  return scopes.filter((it) => asked.includes(it))
}
