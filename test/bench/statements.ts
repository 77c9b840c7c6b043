import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

const protocolVersion3 = 0x30000

/** How often each SQL text was executed, since the start or the last `reset`. */
export type StatementCount = { executed: Map<string, number>; reset(): void; url: string; close(): Promise<void> }

/**
 * A proxy in front of Postgres that counts what is executed, as the wire says it (PostgreSQL documentation, "Message
 * Formats"): Query, and Bind of a statement that was parsed before. Also BEGIN and COMMIT, if any are sent.
 */
export async function countStatements(databaseUrl: string): Promise<StatementCount> {
  const proxied = new URL(databaseUrl)
  const { hostname, port } = proxied
  const executed = new Map<string, number>()
  const count = (sql: string): void => void executed.set(sql, (executed.get(sql) ?? 0) + 1)
  const sockets = new Set<Socket>()

  const server = createServer((client) => {
    const upstream = connect(Number(port || 5432), hostname)
    const listen = createListener(count)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.setNoDelay(true)
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
      from.pipe(to)
    }
    client.on('data', listen)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')
  proxied.hostname = '127.0.0.1'
  proxied.port = String(address.port)

  return {
    executed,
    reset: () => executed.clear(),
    url: proxied.toString(),
    close: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Reads one client's messages and tells `count` the SQL of each execution. */
function createListener(count: (sql: string) => void): (chunk: Buffer) => void {
  const parsed = new Map<string, string>()
  let bytes: Buffer = Buffer.alloc(0)
  let started = false

  const hear = (type: string, content: string): void => {
    const [first = '', second = ''] = content.split('\0', 2)
    if (type === 'Q') count(first)
    if (type === 'P') parsed.set(first, second)
    if (type === 'B') count(parsed.get(second) ?? '?')
  }
  return (chunk) => {
    bytes = Buffer.concat([bytes, chunk])
    for (;;) {
      const headerLength = started ? 5 : 4
      if (bytes.length < headerLength) return
      const length = bytes.readUInt32BE(headerLength - 4) + headerLength - 4
      if (bytes.length < length) return
      if (started) hear(String.fromCharCode(bytes[0] ?? 0), bytes.toString('latin1', 5, length))
      else started = bytes.readUInt32BE(4) === protocolVersion3
      bytes = bytes.subarray(length)
    }
  }
}

/** Whether this SQL opens or ends an interactive transaction. */
export const isTransactionControl = (sql: string): boolean =>
  /^\s*(begin|start\s+transaction|commit|end|rollback|savepoint|release)\b/i.test(sql)
