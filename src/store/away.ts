import pg from 'pg'

/** What the adapter says of an error: as its cause, or inside `meta` once Prisma has wrapped it. */
type Cause = { kind?: string; originalCode?: string; originalMessage?: string }
type DatabaseError = Error & { code?: string; meta?: unknown }

const kinds = [
  ...['DatabaseNotReachable', 'ConnectionClosed', 'SocketTimeout', 'TlsConnectionError', 'TooManyConnections'],
  ...['TransactionWriteConflict', 'DatabaseDoesNotExist', 'DatabaseAccessDenied', 'AuthenticationFailed'],
]

/** The same in Prisma's own numbers. */
const prismaCodes = ['P1000', 'P1001', 'P1002', 'P1003', 'P1008', 'P1010', 'P1011', 'P1017', 'P2024', 'P2034', 'P2037']

/** Sockets whose errors the adapter passes on untouched, such as those of a name with two addresses. */
const socketCodes = [
  ...['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL'],
  ...['ENOTFOUND', 'EAI_AGAIN'],
]

/**
 * SQLSTATEs: 08 connection, 53 out of disk, memory or connections, 57P shutting down, 58 system error; statement and lock
 * time-outs; conflicts; read-only (a server that has become a standby).
 */
const sqlStates = /^(08\w{3}|53\w{3}|57P\w{2}|58\w{3}|57014|55P03|40001|40P01|25006)$/

/** What `pg` and its pool say without any code, from the beginning of the message. */
const messages =
  /^(Query read timeout|timeout exceeded when trying to connect|timeout expired|Connection terminated|Client has encountered a connection error|Client was closed|Cannot use a pool after calling end)/

/** True when the database, and not the request, is the reason: no connection, no answer or lock in time, going away. */
export function isDatabaseAway(error: DatabaseError): boolean {
  const { kind = '', originalCode = '' } = causeOf(error)
  const code = error.code ?? ''
  return (
    kinds.includes(kind) ||
    sqlStates.test(originalCode) ||
    sqlStates.test(code) ||
    prismaCodes.includes(code) ||
    socketCodes.includes(code) ||
    messages.test(error.message)
  )
}

/** The SQLSTATE behind an error, if there is one. */
export function sqlStateOf(error: DatabaseError): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : causeOf(error).originalCode
}

/** True when another session of the database holds a lock, and did not let go of it in time. */
export const isLocked = (error: DatabaseError): boolean => sqlStateOf(error) === '55P03'

/** SQLSTATEs: as above, and 28 login, 3D no such database, 42501 no right; but not what only took too long. */
const refusals = /^(08\w{3}|28\w{3}|3D\w{3}|53\w{3}|57P\w{2}|58\w{3}|25006|42501)$/

/** What Postgres, or a pooler before it, says where it lets nobody in or forbids the statement; it knows no password. */
export function refusalOf(error: DatabaseError): string | undefined {
  if (!refusals.test(sqlStateOf(error) ?? '')) return undefined
  return error instanceof pg.DatabaseError ? error.message : causeOf(error).originalMessage
}

function causeOf({ meta, cause }: DatabaseError): Cause {
  const raw = (meta as { driverAdapterError?: { cause?: Cause } } | undefined)?.driverAdapterError?.cause
  return raw ?? (cause as Cause | undefined) ?? {}
}
