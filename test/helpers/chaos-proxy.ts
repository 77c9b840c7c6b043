import type { AddressInfo } from 'node:net'
import { connect, createServer, type Socket } from 'node:net'

/**
 * What happens to bytes, in both directions:
 * - `pass`: they go through. `delayMs`: so much later.
 * - `blackhole`: they vanish, as behind a firewall that forgot the connection; new connections are accepted and never
 *   answered. A connection that lost bytes stays dead when the mode changes, as a half-open one does.
 * - `reset`: every connection is reset, also new ones.
 * - `cutAfterBytes`: when the server has answered so many more bytes, the connection that carries the last of them is cut
 *   there; then it is `pass` again.
 */
export type ChaosMode = 'pass' | 'blackhole' | 'reset' | { delayMs: number } | { cutAfterBytes: number }

type Pair = { client: Socket; server: Socket; isDead: boolean }

export type ChaosProxy = Awaited<ReturnType<typeof startChaosProxy>>

/** A TCP proxy in front of the server that `target` (a URL) names; it breaks what passes through it, on command. */
export async function startChaosProxy(target: string) {
  const { hostname, port: targetPort } = new URL(target)
  const pairs = new Set<Pair>()
  let mode: ChaosMode = 'pass'
  let accepted = 0

  const end = (pair: Pair, how: 'destroy' | 'resetAndDestroy') => {
    pairs.delete(pair)
    pair.client[how]()
    pair.server.destroy()
  }

  const forward = (pair: Pair, to: Socket, bytes: Buffer) => {
    const current = mode
    if (current === 'blackhole') pair.isDead = true
    if (pair.isDead || current === 'blackhole') return
    if (current === 'reset') return end(pair, 'resetAndDestroy')
    if (typeof current === 'string') return void to.write(bytes)
    if ('delayMs' in current) return void setTimeout(() => to.writable && to.write(bytes), current.delayMs)
    if (to === pair.server) return void to.write(bytes)
    if (bytes.length < current.cutAfterBytes) {
      mode = { cutAfterBytes: current.cutAfterBytes - bytes.length }
      return void to.write(bytes)
    }
    mode = 'pass'
    pair.isDead = true
    to.write(bytes.subarray(0, current.cutAfterBytes), () => end(pair, 'destroy'))
  }

  const listener = createServer((client) => {
    accepted += 1
    if (mode === 'reset') return void client.on('error', () => {}).resetAndDestroy()
    const server = connect(Number(targetPort), hostname)
    const pair: Pair = { client, server, isDead: mode === 'blackhole' }
    pairs.add(pair)
    client.on('data', (bytes) => forward(pair, server, bytes))
    server.on('data', (bytes) => forward(pair, client, bytes))
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on('error', () => end(pair, 'destroy'))
      socket.on('close', () => end(pair, 'destroy'))
    }
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as AddressInfo
  const through = new URL(target)
  through.hostname = '127.0.0.1'
  through.port = String(port)

  return {
    /** `target`, but through the proxy. */
    url: through.toString(),
    setMode: (next: ChaosMode) => {
      mode = next
      for (const pair of pairs) {
        if (next === 'blackhole') pair.isDead = true
        if (next === 'reset') end(pair, 'resetAndDestroy')
      }
    },
    /** Cuts every connection there is; new ones get through as the mode says. */
    cutAll: () => {
      for (const pair of pairs) end(pair, 'destroy')
    },
    /** The local ports of its connections to the server: by these the server knows them. */
    serverPorts: (): number[] => [...pairs].flatMap(({ server }) => server.localPort ?? []),
    /** Connections open at this moment, and accepted since the start. */
    connections: () => ({ open: pairs.size, accepted }),
    close: async () => {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
      for (const pair of pairs) end(pair, 'destroy')
      await closed
    },
  }
}
