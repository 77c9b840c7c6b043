import { createServer, type IncomingHttpHeaders, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { Webhook as StandardWebhook } from 'standardwebhooks'

/** A message as it came. */
export type Received = { path: string; headers: IncomingHttpHeaders; body: string; at: number }

/** What is answered: a status with headers and a body, `hang`: nothing; `drip`: a byte now and then; `cut`: the connection. */
export type ReceiverMode =
  | { status: number; headers?: Record<string, string>; body?: string }
  | 'hang'
  | 'drip'
  | 'cut'
  | ((received: Received) => number)

export type Receiver = Awaited<ReturnType<typeof startReceiver>>

/** A backend that takes webhooks on this machine, until `t` ends, and does with them what it is told; with `tls`, over that. */
export async function startReceiver(t: { teardown(work: () => unknown): void }, tls?: { key: string; cert: string }) {
  const received: Received[] = []
  const sockets = new Set<Socket>()
  const waiting = new Set<() => void>()
  let mode: ReceiverMode = { status: 204 }
  let connections = 0

  const answer = (response: ServerResponse, message: Received): void => {
    if (mode === 'hang') return
    if (mode === 'cut') return void response.socket?.destroy()
    if (mode === 'drip') {
      response.socket?.write('HTTP/1.1 200 OK\r\nx-drip: ')
      const timer = setInterval(() => response.socket?.write('.'), 50)
      response.socket?.once('close', () => clearInterval(timer))
      return
    }
    if (typeof mode === 'function') return void response.writeHead(mode(message)).end()
    response.on('error', () => {})
    response.writeHead(mode.status, mode.headers).end(mode.body)
  }
  const listener: RequestListener = (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('error', () => {})
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString()
      const message = { path: request.url ?? '', headers: request.headers, body, at: performance.now() }
      received.push(message)
      for (const wake of waiting) wake()
      answer(response, message)
    })
  }
  const server = tls ? createTlsServer(tls, listener).on('tlsClientError', () => {}) : createServer(listener)
  server.on('connection', (socket) => {
    connections += 1
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of sockets) socket.destroy()
    await closed
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/hooks`,
    port,
    received,
    connections: () => connections,
    open: () => sockets.size,
    setMode: (next: ReceiverMode): void => {
      mode = next
    },
    /** Resolves once so many have come. Throws after two minutes. */
    until: (count: number): Promise<void> =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${received.length} of ${count} came`)), 120_000)
        const wake = (): void => {
          if (received.length < count) return
          clearTimeout(timer)
          waiting.delete(wake)
          resolve()
        }
        waiting.add(wake)
        wake()
      }),
    types: (): string[] => received.map(({ body }) => JSON.parse(body).type),
    ids: (): string[] => received.map(({ headers }) => String(headers['webhook-id'])),
  }
}

/** What a message says, checked by the library of the specification; throws where the signature does not hold. */
export function verified(secret: string, { body, headers }: Pick<Received, 'body' | 'headers'>) {
  return new StandardWebhook(secret).verify(body, headers as Record<string, string>) as {
    type: string
    timestamp: string
    data: Record<string, unknown>
  }
}
