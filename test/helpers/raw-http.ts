import { connect, type Socket } from 'node:net'

/** An answer as it came over the wire. */
export type RawAnswer = { status: number; headers: Record<string, string>; body: string }

export type Exchange = {
  answers: RawAnswer[]
  text: string
  /** Whether the server ended the connection; the client here never does so by itself. */
  ended: boolean
  ms: number
}

/**
 * Writes bytes to a server as they are and reads until it ends the connection, or for `waitMs`. What `drip` gives is
 * written after that, one piece per `everyMs`.
 */
export function exchange(
  port: number,
  bytes: string,
  options: { waitMs?: number; drip?: string; everyMs?: number } = {},
): Promise<Exchange> {
  const { waitMs = 15_000, drip = '', everyMs = 500 } = options
  const startedAt = performance.now()
  return new Promise((resolve) => {
    const socket: Socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const chunks: Buffer[] = []
    let ended = false
    const pieces = [...drip]
    const dripping = setInterval(() => {
      const piece = pieces.shift()
      if (piece !== undefined && socket.writable) socket.write(piece, 'latin1')
    }, everyMs)
    const finish = (): void => {
      clearInterval(dripping)
      clearTimeout(timer)
      socket.destroy()
      const text = Buffer.concat(chunks).toString('latin1')
      resolve({ answers: parse(text), text, ended, ms: performance.now() - startedAt })
    }
    const timer = setTimeout(finish, waitMs)
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', () => {
      ended = true
    })
    socket.on('close', finish)
    socket.on('end', () => {
      ended = true
      finish()
    })
    if (bytes !== '') socket.write(bytes, 'latin1')
  })
}

/** The answers in what a server wrote, each with a Content-Length or none at all. */
function parse(text: string): RawAnswer[] {
  const answers: RawAnswer[] = []
  let rest = text
  while (rest.startsWith('HTTP/1.1 ')) {
    const end = rest.indexOf('\r\n\r\n')
    if (end < 0) break
    const [first = '', ...lines] = rest.slice(0, end).split('\r\n')
    const headers = Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    )
    const length = Number(headers['content-length'] ?? 0)
    const status = Number(first.split(' ')[1])
    answers.push({ status, headers, body: Buffer.from(rest.slice(end + 4, end + 4 + length), 'latin1').toString() })
    rest = rest.slice(end + 4 + length)
  }
  return answers
}
