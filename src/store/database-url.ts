/** Where the tables are: what `pg` connects to, and the schema in that database. */
export type DatabaseUrl = { connectionString: string; schema: string }

/** Parameters that only Prisma's own engines understand; `pg` would take some of them for settings of its own. */
const prismaParameters = new Set([
  ...['schema', 'pgbouncer', 'connection_limit', 'pool_timeout', 'connect_timeout', 'socket_timeout'],
  ...['statement_cache_size', 'max_connection_lifetime', 'max_idle_connection_lifetime', 'single_use_connections'],
  ...['sslaccept', 'sslidentity', 'sslpassword'],
])

/** Letters, digits, `_` and `-`: as long as Postgres keeps names (63 bytes), and none that it keeps to itself. */
const schemaName = /^(?!pg_|information_schema$)[A-Za-z_][\w-]{0,62}$/

/**
 * Reads `DATABASE_URL`. The schema is what `?schema=` says, as Prisma reads it, and `public` without; every other parameter
 * stays as it is written.
 *
 * @throws An Error without the URL in it, since that holds a password.
 */
export function readDatabaseUrl(url: string): DatabaseUrl {
  const [address = '', query = ''] = url.split(/\?(.*)/s)
  const parameters = query.split('&').filter((parameter) => parameter !== '')
  const kept = parameters.filter((parameter) => !prismaParameters.has(nameOf(parameter)))
  const schemas = new URLSearchParams(query).getAll('schema')
  const [schema = 'public'] = schemas
  if (schemas.length > 1 || !schemaName.test(schema)) throw new Error('The schema in DATABASE_URL is not a plain name')
  return { connectionString: kept.length > 0 ? `${address}?${kept.join('&')}` : address, schema }
}

/** True where `readDatabaseUrl` does not throw. */
export function hasPlainSchema(url: string): boolean {
  try {
    readDatabaseUrl(url)
    return true
  } catch {
    return false
  }
}

const nameOf = (parameter: string): string => new URLSearchParams(parameter).keys().next().value ?? ''
