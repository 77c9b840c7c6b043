import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as plainRequest } from 'node:http'
import { Agent as HttpsAgent, request as tlsRequest } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import { promisify } from 'node:util'
import { createTurns } from '../turns.ts'
import type { Posted, WebhookPoster } from './index.ts'

/** Milliseconds for all of it: name, connection, TLS, sending, and the first line of the answer. */
const timeoutMs = 15_000

/** Bytes that go out at most, and that are read of an answer, whose words mean nothing here. */
const mostOut = 20 * 1024
const mostIn = 4 * 1024

/** Seconds that a receiver may ask to be left alone for, at most. */
const longestRestSeconds = 86_400

/** All addresses of a name. */
export type LookupAll = (
  name: string,
  done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

const systemLookupAll: LookupAll = (name, done) => systemLookup(name, { all: true, verbatim: true }, done)

/**
 * The only way out to addresses that others have named (SEC-119). `isAllowed` judges the very addresses that the socket
 * then connects to, after the name was looked up: a name that is looked up twice cannot change in between. One address
 * that is not allowed refuses the name. No redirect is followed, no proxy is asked, no connection is kept.
 */
export function createWebhookPoster(parts: {
  isAllowed: (address: string) => boolean
  nowMs: () => number
  lookupAll?: LookupAll
  timeoutMs?: number
}): WebhookPoster {
  const { isAllowed, nowMs, lookupAll = systemLookupAll } = parts
  const closing = new AbortController()
  const limitMs = parts.timeoutMs ?? timeoutMs

  const lookup = judged(oneAfterAnother(lookupAll), isAllowed)

  const send = (url: URL, headers: Record<string, string>, bytes: Buffer): Promise<Posted> =>
    new Promise((resolve) => {
      const late = AbortSignal.timeout(limitMs)
      const signal = AbortSignal.any([late, closing.signal])
      const options = {
        ...{ method: 'POST', lookup, signal },
        headers: { ...headers, 'content-length': bytes.length, connection: 'close' },
      }
      // An agent of its own for each: those of the process may ask a proxy, or keep connections.
      const request: ClientRequest =
        url.protocol === 'https:'
          ? tlsRequest(url, { ...options, agent: new HttpsAgent({ keepAlive: false }) })
          : plainRequest(url, { ...options, agent: new HttpAgent({ keepAlive: false }) })
      request.on('response', (answer) => {
        drain(answer)
        resolve({ status: answer.statusCode ?? 0, retryAfterSeconds: retryAfterOf(answer, nowMs()) })
      })
      // A response that says "switching protocols" is none to wait for.
      request.on('upgrade', (answer, socket) => {
        socket.destroy()
        resolve({ status: answer.statusCode ?? 0, retryAfterSeconds: 0 })
      })
      request.on('error', (error: NodeJS.ErrnoException) => {
        if (closing.signal.aborted) resolve({ error: 'interrupted' })
        else if (late.aborted) resolve({ error: 'timeout' })
        else resolve({ error: error.code === refused ? 'refused' : 'unreachable' })
      })
      request.end(bytes)
    })

  return {
    post: async (text, headers, body) => {
      const url = new URL(text)
      const bytes = Buffer.from(body)
      if (bytes.length > mostOut) return { error: 'too_large' }
      if (closing.signal.aborted) return { error: 'interrupted' }
      // An address in place of a name is never looked up.
      const literal = url.hostname.replace(/^\[|\]$/g, '')
      if (isIP(literal) !== 0 && !isAllowed(literal)) return { error: 'refused' }
      return await send(url, headers, bytes)
    },
    close: () => closing.abort(),
  }
}

/**
 * Looks up one name at a time; who asks for the same one meanwhile shares the answer. A lookup holds one of the few threads
 * that there are for them, also while a name server says nothing: texts and mails need the others.
 */
function oneAfterAnother(lookupAll: LookupAll): LookupAll {
  const inTurn = createTurns()
  const underWay = new Map<string, Promise<LookupAddress[]>>()
  const ask = promisify(lookupAll)
  return (name, done) => {
    const answer = underWay.get(name) ?? inTurn('', () => ask(name)).finally(() => underWay.delete(name))
    underWay.set(name, answer)
    answer.then(
      (addresses) => done(null, addresses),
      (error: NodeJS.ErrnoException) => done(error, []),
    )
  }
}

/** Looks names up for a socket, and gives it only addresses that are allowed. */
const judged =
  (lookupAll: LookupAll, isAllowed: (address: string) => boolean): LookupFunction =>
  (name, { all }, done) =>
    lookupAll(name, (error, addresses) => {
      const [first] = addresses ?? []
      if (error || first === undefined) done(error ?? refusal('ENOTFOUND'), '', 0)
      else if (!addresses.every(({ address }) => isAllowed(address))) done(refusal(refused), '', 0)
      else if (all) done(null, addresses)
      else done(null, first.address, first.family)
    })

const refused = 'EWEBHOOKREFUSED'
const refusal = (code: string): NodeJS.ErrnoException => Object.assign(new Error(code), { code })

/** Lets a short answer come to its end, and ends a long one; what it says is not looked at. */
function drain(answer: IncomingMessage): void {
  let read = 0
  answer.on('error', () => {})
  answer.on('data', (chunk: Buffer) => {
    read += chunk.length
    if (read > mostIn) answer.destroy()
  })
}

/** Seconds, from either form of the header (RFC 9110 10.2.3), a day at most; 0 where there is none. */
function retryAfterOf({ headers }: IncomingMessage, nowMs: number): number {
  const text = headers['retry-after'] ?? ''
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - nowMs) / 1_000
  return Number.isNaN(seconds) ? 0 : Math.ceil(Math.min(Math.max(seconds, 0), longestRestSeconds))
}
