import { createHash } from 'node:crypto'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'

/** One question as it came: all that left the service. */
export type RangeAsked = { method: string | undefined; url: string | undefined; headers: string[]; body: string }

export const sha1 = (text: string): string => createHash('sha1').update(text).digest('hex').toUpperCase()

/** The end of a hash that nothing has: 35 hex digits from a number. */
export const otherEnd = (n: number): string => n.toString(16).toUpperCase().padStart(35, '0')

/** Answers as the range query does: padding, other hashes of the range, and those of `passwords` with their counts. */
export const rangeOf = (passwords: Record<string, number>): string =>
  [
    ...Array.from({ length: 800 }, (_, n) => `${otherEnd(n)}:${n % 3}`),
    ...Object.entries(passwords).map(([password, count]) => `${sha1(password).slice(5)}:${count}`),
  ].join('\r\n')

/** A server of range queries on this machine, closed when the test ends; `answer` is what it does with each. */
export async function startRangeStub(t: Test, answer: (reply: ServerResponse) => void) {
  const asked: RangeAsked[] = []
  const sockets = new Set<Socket>()
  let answerWith = answer
  const server = createServer((request, reply) => {
    let body = ''
    request.on('data', (chunk) => {
      body += chunk
    })
    request.on('end', () => {
      asked.push({ method: request.method, url: request.url, headers: request.rawHeaders, body })
      answerWith(reply)
    })
  })
  server.on('connection', (socket) => sockets.add(socket))
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
  t.teardown(close)
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    answerWith: (next: (reply: ServerResponse) => void): void => {
      answerWith = next
    },
    close,
  }
}
