import { createHash } from 'node:crypto'
import { PrismaPg } from '@prisma/adapter-pg'
import { PrismaClient } from './prisma/client.ts'

export type Database = PrismaClient

/**
 * Connects to the Postgres at `url`, lazily, with limits that make an overloaded or lost database an answer instead of
 * a wait: 1 s for a connection, 2 s for a statement, 1 s for a lock (ASVS 13.1.2).
 * `prepared`: name the statements so that Postgres plans each of them once; off for the embedded database, which has
 * one backend for all connections. `patience` stretches the limits, for callers that keep nobody else waiting.
 */
export function createDatabase(options: {
  url: string
  poolSize: number
  prepared: boolean
  patience: number
  onError: (error: Error) => void
}): Database {
  const { patience } = options
  const names = new Map<string, string>()
  const nameOf = (sql: string): string => {
    const known = names.get(sql)
    if (known !== undefined) return known
    const name = `doorstep_${createHash('sha256').update(sql).digest('hex').slice(0, 16)}`
    names.set(sql, name)
    return name
  }
  const adapter = new PrismaPg(
    {
      connectionString: options.url,
      max: options.poolSize,
      connectionTimeoutMillis: 1_000 * patience,
      idleTimeoutMillis: 30_000,
      statement_timeout: 2_000 * patience,
      query_timeout: 2_500 * patience,
      lock_timeout: 1_000 * patience,
      idle_in_transaction_session_timeout: 5_000,
      application_name: 'doorstep',
    },
    {
      onPoolError: options.onError,
      onConnectionError: options.onError,
      ...(options.prepared ? { statementNameGenerator: ({ sql }: { sql: string }) => nameOf(sql) } : {}),
    },
  )
  return new PrismaClient({ adapter })
}
