/** Parameters of a connection string that mean something to Prisma and nothing to Postgres. */
const prismaOnly = ['schema', 'pgbouncer', 'connection_limit', 'pool_timeout', 'connect_timeout', 'socket_timeout']

/** What `DATABASE_URL` says: how to connect, and the schema that all tables and functions are in. */
export function readDatabaseUrl(url: string): { connectionString: string; schema: string } {
  const parsed = new URL(url)
  const schema = parsed.searchParams.get('schema') || 'public'
  for (const name of prismaOnly) parsed.searchParams.delete(name)
  return { connectionString: parsed.toString(), schema }
}
