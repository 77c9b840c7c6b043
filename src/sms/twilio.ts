import { Agent } from 'node:http'
import twilio from 'twilio'
import { createBreaker } from '../breaker.ts'
import type { Clock } from '../system.ts'
import type { SmsMessage, SmsResult, SmsSender } from './index.ts'

const totalTimeoutMs = 5_000
const maxSockets = 20
const maxAnswerBytes = 64 * 1024

export type TwilioOptions = {
  accountSid: string
  authToken: string
  /** E.164 or an alphanumeric sender; this or a messaging service. */
  from?: string
  messagingServiceSid?: string
  /** `https://api.twilio.com`, or a local server in tests. */
  apiBaseUrl: string
  /** Where delivery receipts go; the text's own number is added to it. */
  statusCallbackUrl?: string
  clock: Clock
  log: (level: 'error' | 'warn', fields: object, message: string) => void
}

type Refusal = Extract<SmsResult, { outcome: 'refused' }>['reason']

// Twilio's error dictionary (twilio.com/docs/api/errors), sorted by whose problem it is (SEC-35).
// 21612 (no route from our sender to this number) is counted as the number's: what the user can do about it is to take
// another number or factor, and a breaker that it could open would let one odd number silence everybody's texts.
// 21265, 21266, 21268 and 21635 are the newer, finer forms of 21211 and 21614: short code, ourselves, premium, landline.
const codesByReason: Record<Refusal, number[]> = {
  phone: [21211, 21265, 21266, 21268, 21610, 21612, 21614, 21635, 30003, 30005, 30006],
  policy: [21408, 21608, 30004, 30007, 30034, 30450, 30453, 60410],
  ours: [20003, 20005, 20404, 21606, 30002],
  transient: [20429, 20500, 30001, 30008, 30036],
}
// Nobody's text can go until an operator acts, so the breaker opens at once.
const credentialErrors = ['20003', '20005', '20404', 'http_401']
// What an operator does about the refusals that look like a fault of the number and are none.
const remedies: Record<string, string> = {
  21408: "Allow the region in Twilio's console under Messaging, Settings, Geo permissions.",
  21608:
    "A Twilio trial account texts verified callers only: verify the number in Twilio's console, or upgrade the account.",
}

/**
 * Whose problem a Twilio error is.
 * @param code Twilio's error number, from an answer or a delivery receipt
 * @param httpStatus of the answer that carried it; 400 for a receipt
 */
export function twilioRefusal(code: number | undefined, httpStatus = 400): Refusal {
  for (const reason of ['phone', 'policy', 'ours', 'transient'] as const) {
    if (code !== undefined && codesByReason[reason].includes(code)) return reason
  }
  // A request that Twilio refuses for a reason not listed was wrongly made: ours to mend.
  return httpStatus === 429 || httpStatus >= 500 ? 'transient' : 'ours'
}

/** The library's own HTTP client, pointed at `apiBaseUrl`: 5 s in all, 20 sockets, no retry, no redirect. */
function createTransport(apiBaseUrl: string) {
  const transport = new twilio.RequestClient({ timeout: totalTimeoutMs, autoRetry: false, maxSockets })
  const { defaults, interceptors } = transport.axios
  const plainAgent = new Agent({ keepAlive: true, maxSockets, timeout: totalTimeoutMs })
  const secureAgent: Agent = defaults.httpsAgent
  defaults.httpAgent = plainAgent
  defaults.maxContentLength = maxAnswerBytes
  interceptors.request.use((config) => {
    // Also undoes TWILIO_EDGE and TWILIO_REGION, which the library reads from the environment by itself.
    const { pathname, search } = new URL(config.url ?? '/', apiBaseUrl)
    config.url = apiBaseUrl.replace(/\/$/, '') + pathname + search
    // The library's own time-out starts again with every byte; this one does not.
    config.signal = AbortSignal.timeout(totalTimeoutMs)
    return config
  })
  const close = () => {
    plainAgent.destroy()
    secureAgent.destroy()
  }
  return { transport, close }
}

const neverConnected = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|EPROTO)$|CERT|SIGNATURE/
const timeoutCodes = ['ERR_CANCELED', 'ECONNABORTED', 'ETIMEDOUT']
const resetCodes = ['ECONNRESET', 'EPIPE']

type Failure = { status?: unknown; code?: unknown }

/**
 * What a failed call means. Only numbers and words of our own go into the result: the library's error texts quote the
 * phone number, and its error objects hold the whole request.
 */
function readFailure({ status, code }: Failure): SmsResult {
  // A 5xx may hide a text that went, but it is an answer; nothing is sent again by itself.
  if (typeof status === 'number' && (status < 200 || status > 299)) {
    const number = typeof code === 'number' && Number.isInteger(code) ? code : undefined
    const error = String(number ?? `http_${status}`)
    return { outcome: 'refused', reason: twilioRefusal(number, status), isCertain: status < 500, error }
  }
  const word = typeof code === 'string' ? code : ''
  if (neverConnected.test(word))
    return { outcome: 'refused', reason: 'transient', isCertain: true, error: 'no_connection' }
  if (timeoutCodes.includes(word)) return { outcome: 'unknown', error: 'timeout' }
  return { outcome: 'unknown', error: resetCodes.includes(word) ? 'connection_reset' : 'unreadable_answer' }
}

/**
 * Sends texts through Twilio's Programmable Messaging (POST /2010-04-01/Accounts/{sid}/Messages.json).
 * One request per text, ever: creating a message is not idempotent (SEC-34). Logs error numbers, never a number or text.
 */
export function createTwilioSender(options: TwilioOptions): SmsSender {
  const { accountSid, authToken, from, messagingServiceSid, apiBaseUrl, statusCallbackUrl, clock, log } = options
  const breaker = createBreaker(clock)
  const { transport, close } = createTransport(apiBaseUrl)
  // Never `debug`: the library would write requests to the console.
  const client = twilio(accountSid, authToken, { httpClient: transport, autoRetry: false, logLevel: 'error' })
  const sender = {
    ...(messagingServiceSid ? { messagingServiceSid } : from ? { from } : {}),
  }

  const call = async ({ id, to, body, validForSeconds }: SmsMessage): Promise<SmsResult> => {
    try {
      const validityPeriod = Math.max(1, Math.floor(validForSeconds))
      const receipts = statusCallbackUrl ? { statusCallback: `${statusCallbackUrl}?text=${id}` } : {}
      const { sid } = await client.messages.create({ to, body, validityPeriod, ...sender, ...receipts })
      if (!/^(SM|MM)[0-9a-fA-F]{32}$/.test(sid)) return { outcome: 'unknown', error: 'unreadable_answer' }
      return { outcome: 'sent', providerId: sid }
    } catch (error) {
      return readFailure((error ?? {}) as Failure)
    } finally {
      // The library keeps the last exchange in memory: a number and a code.
      delete transport.lastRequest
      delete transport.lastResponse
    }
  }

  /**
   * Tells the breaker and the log. Only what stops everybody's texts counts against the provider: one that refuses a
   * text, for whatever reason, works, and nobody silences it for all by odd numbers (SEC-106).
   */
  const note = (result: SmsResult) => {
    if (result.outcome === 'sent') return breaker.succeeded()
    const reason = result.outcome === 'refused' ? result.reason : null
    if (credentialErrors.includes(result.error)) breaker.trip()
    else if (reason === null || reason === 'transient') breaker.failed()
    else breaker.succeeded()
    const level = reason === 'ours' || reason === 'policy' ? 'error' : 'warn'
    const remedy = remedies[result.error]
    const told = { ...result, provider: 'twilio', breaker_open: !breaker.isAvailable(), ...(remedy && { remedy }) }
    log(level, told, 'a text was not accepted')
  }

  const send = async (message: SmsMessage): Promise<SmsResult> => {
    if (!breaker.tryEnter()) return { outcome: 'refused', reason: 'transient', isCertain: true, error: 'breaker_open' }
    const result = await call(message)
    note(result)
    return result
  }

  return { send, isAvailable: breaker.isAvailable, close }
}
