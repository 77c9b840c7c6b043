import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { systemClock, systemRandom } from '../../src/system.ts'

/** One request that was read to its end, whatever was answered. `at` is in milliseconds since 1970. */
export type StubRequest = {
  to: string
  from: string | null
  messagingServiceSid: string | null
  body: string
  validityPeriod: number | null
  statusCallback: string | null
  at: number
}

/**
 * - `ok`: 201. `slowMs`: 201 after a while. `slowDrip`: 201, one byte every 100 ms.
 * - `error`: that HTTP status, with a Twilio error number or (null) with no JSON at all.
 * - `hang`: never an answer. `resetAfterAccept`: takes the text, then cuts. `resetBeforeRead`: cuts after the headers.
 * - `brokenJson`: 201, JSON cut off. `wrongSid`: 201, but `sid` is none of a message.
 */
export type StubMode =
  | 'ok'
  | 'hang'
  | 'slowDrip'
  | 'resetAfterAccept'
  | 'resetBeforeRead'
  | 'brokenJson'
  | 'wrongSid'
  | { slowMs: number }
  | { error: { httpStatus: number; twilioCode: number | null } }

const accountSid = `AC${'0123456789abcdef'.repeat(2)}`
const authToken = 'stub-auth-token-5f2a'
const readCode = (body: string) => /\n@\S+ #(\d{6,10})$/.exec(body)?.[1]

/** The whole 201 answer of Twilio's message resource. */
function messageResource({ to, from, messagingServiceSid, body }: StubRequest, sid: string) {
  const uri = `/2010-04-01/Accounts/${accountSid}/Messages/${sid}`
  const now = new Date(systemClock.nowMs()).toUTCString().replace('GMT', '+0000')
  return {
    account_sid: accountSid,
    api_version: '2010-04-01',
    body,
    date_created: now,
    date_sent: null,
    date_updated: now,
    direction: 'outbound-api',
    error_code: null,
    error_message: null,
    from,
    messaging_service_sid: messagingServiceSid,
    num_media: '0',
    num_segments: messagingServiceSid ? '0' : '1',
    price: null,
    price_unit: 'USD',
    sid,
    status: messagingServiceSid ? 'accepted' : 'queued',
    subresource_uris: { media: `${uri}/Media.json` },
    to,
    uri: `${uri}.json`,
  }
}

async function readForm(request: IncomingMessage) {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'))
}

/**
 * Starts a local server that speaks Twilio's protocol for sending a message and can fail on command.
 * `hits` counts every request that came, also those cut off or refused; `peakSockets` the most open at once.
 */
export async function startTwilioStub() {
  const requests: StubRequest[] = []
  const sockets = new Set<Socket>()
  let mode: StubMode = 'ok'
  let hits = 0
  let peakSockets = 0

  const answer = (response: ServerResponse, status: number, value: object | string) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    response.writeHead(status, { 'Content-Type': 'application/json;charset=utf-8', 'Twilio-Request-Id': 'RQstub' })
    response.end(text)
  }
  const refuse = (response: ServerResponse, status: number, code: number, message: string) =>
    answer(response, status, { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status })

  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    hits += 1
    const current = mode
    if (current === 'resetBeforeRead') return void request.socket.resetAndDestroy()
    const form = await readForm(request)
    const basic = `Basic ${Buffer.from(`${accountSid}:${authToken}`).toString('base64')}`
    if (request.headers.authorization !== basic) return refuse(response, 401, 20003, 'Authenticate')
    if (request.method !== 'POST' || request.url !== `/2010-04-01/Accounts/${accountSid}/Messages.json`) {
      return refuse(response, 404, 20404, `The requested resource ${request.url} was not found`)
    }
    const [to, body] = [form.get('To'), form.get('Body')]
    const [from, messagingServiceSid] = [form.get('From'), form.get('MessagingServiceSid')]
    if (!to) return refuse(response, 400, 21604, "A 'To' phone number is required.")
    if (!body) return refuse(response, 400, 21602, 'Message body is required.')
    if (!from && !messagingServiceSid) return refuse(response, 400, 21603, "A 'From' phone number is required.")
    const validity = form.get('ValidityPeriod')
    const validityPeriod = validity === null ? null : Number(validity)
    const statusCallback = form.get('StatusCallback')
    const entry = { to, from, messagingServiceSid, body, validityPeriod, statusCallback, at: systemClock.nowMs() }
    requests.push(entry)

    if (current === 'hang') return
    if (current === 'resetAfterAccept') return void request.socket.resetAndDestroy()
    if (typeof current === 'object' && 'error' in current) {
      const { httpStatus, twilioCode } = current.error
      if (twilioCode === null) return answer(response, httpStatus, '<html>Bad gateway</html>')
      // Twilio's own texts quote the number; so does this one, to catch whoever logs them.
      return refuse(response, httpStatus, twilioCode, `The 'To' number ${to} was refused: ${body}`)
    }
    if (typeof current === 'object') await wait(current.slowMs)
    const sid = (current === 'wrongSid' ? 'XX' : 'SM') + systemRandom.bytes(16).toString('hex')
    const json = JSON.stringify(messageResource(entry, sid))
    if (current === 'brokenJson') return answer(response, 201, json.slice(0, json.length / 2))
    if (current !== 'slowDrip') return answer(response, 201, json)
    response.writeHead(201, { 'Content-Type': 'application/json;charset=utf-8' })
    for (const character of json) {
      if (response.destroyed) return
      response.write(character)
      await wait(100)
    }
    response.end()
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy())
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    peakSockets = Math.max(peakSockets, sockets.size)
    socket.once('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  return {
    url: `http://127.0.0.1:${port}`,
    accountSid,
    authToken,
    requests,
    hits: () => hits,
    peakSockets: () => peakSockets,
    setMode: (next: StubMode) => {
      mode = next
    },
    /** The codes of all texts, oldest first, read from their last lines. */
    codes: () => requests.flatMap(({ body }) => readCode(body) ?? []),
    /** The newest request, or the newest to this number. */
    last: (to?: string) => requests.findLast((request) => to === undefined || request.to === to),
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
}

export type TwilioStub = Awaited<ReturnType<typeof startTwilioStub>>
