import { connect as openSocket, type Socket } from 'node:net'

export type Answer = { status: number; body: string }

/** Sends one request over a connection that is kept open. */
export type Send = (request: string) => Promise<Answer>

/** What a caller does, by one request or more; throws if an answer is not the right one. */
export type Operation = (send: Send) => Promise<void>

/** What callers got done in `ms` milliseconds; latencies in milliseconds, ascending. */
export type Sample = { operations: number; failed: number; ms: number; latencies: number[] }

/** A service that gives up an operation now and then on a busy machine has still been measured. */
const failuresAllowed = 0.01

/**
 * The bytes of a POST: of JSON, or of a form if `body` is text. `address` is who the request says it comes from; the
 * servers trust this machine with that.
 */
export function post(
  path: string,
  body: object | string,
  more: { token?: string; basic?: string; address?: string } = {},
): string {
  const [type, text] =
    typeof body === 'string' ? ['application/x-www-form-urlencoded', body] : ['application/json', JSON.stringify(body)]
  const lines = [
    `POST ${path} HTTP/1.1`,
    'Host: 127.0.0.1',
    'User-Agent: doorstep-bench',
    `Content-Type: ${type}`,
    `Content-Length: ${Buffer.byteLength(text)}`,
  ]
  if (more.token !== undefined) lines.push(`Authorization: Bearer ${more.token}`)
  if (more.basic !== undefined) lines.push(`Authorization: Basic ${Buffer.from(more.basic).toString('base64')}`)
  if (more.address !== undefined) lines.push(`X-Forwarded-For: ${more.address}`)
  return `${lines.join('\r\n')}\r\n\r\n${text}`
}

/** The bytes of a GET. */
export function get(path: string, { token }: { token: string }): string {
  return `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: doorstep-bench\r\nAuthorization: Bearer ${token}\r\n\r\n`
}

/** How much is asked for: by how many callers, until how many milliseconds have passed or operations begun. */
export type Load = { clients: number; untilMs: number; operations?: number }

/**
 * Closed loop: each caller, on a connection of its own, starts one operation after another until the load is done or
 * `next` has no more. Throws what the first operation threw if more than a few of them did: the speed of failures
 * proves nothing.
 */
export async function drive(
  port: number,
  { clients, untilMs, operations = Number.POSITIVE_INFINITY }: Load,
  next: () => Operation | undefined,
): Promise<Sample> {
  let left = operations
  const latencies: number[] = []
  const failures: unknown[] = []
  const startedAt = performance.now()
  const client = async (): Promise<void> => {
    const { send, close } = openConnection(port)
    try {
      for (let now = performance.now(); now - startedAt < untilMs; ) {
        if (left === 0) return
        left -= 1
        const operation = next()
        if (operation === undefined) return
        const failure = await operation(send).then(
          () => null,
          (error: unknown) => error,
        )
        const doneAt = performance.now()
        if (failure === null) latencies.push(doneAt - now)
        else failures.push(failure)
        now = doneAt
      }
    } finally {
      close()
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  const ms = performance.now() - startedAt
  const failed = failures.length
  if (failed > 2 && failed > latencies.length * failuresAllowed) throw failures[0]
  return { operations: latencies.length, failed, ms, latencies: latencies.sort((a, b) => a - b) }
}

/** An HTTP/1.1 client for answers with Content-Length, one at a time: as little work of its own as can be. */
function openConnection(port: number): { send: Send; close: () => void } {
  let socket: Socket | undefined
  let received = ''
  let waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined

  const fail = (error: Error): void => {
    socket = undefined
    waiting?.reject(error)
    waiting = undefined
  }
  const read = (chunk: string): void => {
    received += chunk
    const answer = parse(received)
    if (answer === undefined || waiting === undefined) return
    received = ''
    if (answer.closes) {
      socket?.removeAllListeners('close').destroy()
      socket = undefined
    }
    const { resolve } = waiting
    waiting = undefined
    resolve(answer)
  }
  const open = (): Socket =>
    openSocket({ port, host: '127.0.0.1', noDelay: true })
      .setEncoding('latin1')
      .on('data', read)
      .on('error', fail)
      .on('close', () => fail(new Error('the server closed the connection')))

  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject }
        socket ??= open()
        socket.write(request)
      }),
    close: () => void socket?.removeAllListeners('close').destroy(),
  }
}

/** The answer in these bytes, once all of it is there. */
function parse(bytes: string): (Answer & { closes: boolean }) | undefined {
  const headersEnd = bytes.indexOf('\r\n\r\n')
  if (headersEnd < 0) return undefined
  const head = bytes.slice(0, headersEnd)
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1])
  if (Number.isNaN(length)) throw new Error(`an answer without Content-Length:\n${head}`)
  const bodyAt = headersEnd + 4
  if (bytes.length < bodyAt + length) return undefined
  return {
    status: Number(head.slice(9, 12)),
    body: bytes.slice(bodyAt, bodyAt + length),
    closes: /\r\nconnection: close/i.test(head),
  }
}

/** The answer's JSON. Throws unless it is a 200. */
export function expectOk({ status, body }: Answer): Record<string, unknown> {
  if (status !== 200) throw new Error(`expected 200, got ${status}: ${body}`)
  return JSON.parse(body)
}
