import { createTransport } from 'nodemailer'
import { createBreaker } from '../breaker.ts'
import type { Clock } from '../system.ts'
import type { Mail, MailResult, MailSender } from './index.ts'

export type SmtpOptions = {
  /** `smtp://user:password@host:587` (STARTTLS) or `smtps://…:465`; what follows the port is not read. */
  url: string
  /** An address, or `Name <address>`. */
  from: string
  /** True for a server on this machine in development: the only way without TLS. */
  isPlainAllowed: boolean
  /** PEM of an authority to trust instead of the system's. */
  ca?: string
  clock: Clock
  log: (level: 'error' | 'warn', fields: object, message: string) => void
}

type Failure = { code?: string; originalCode?: string; responseCode?: number; command?: string }

/** Nobody's mail can go until an operator acts. */
const ourFaults = ['auth', 'no_tls']

/**
 * What a failed try means. Only numbers and words of our own go into the result: the library's texts quote what the server
 * said, which quotes the address.
 */
function readFailure({ code, originalCode, responseCode, command }: Failure): MailResult {
  const refused = (reason: 'mail' | 'provider', error: string, isCertain = false): MailResult => {
    return { outcome: 'refused', reason, isCertain, error }
  }
  if (code === 'EAUTH' || code === 'ENOAUTH') return refused('provider', 'auth')
  if (code === 'ETLS' || /CERT|SIGNATURE|ALTNAME/.test(originalCode ?? '')) return refused('provider', 'no_tls')
  if (responseCode !== undefined) {
    const error = `smtp_${responseCode}`
    // Before the recipient is named it is about the server, or about us.
    if (!/^(RCPT TO|DATA)$/.test(command ?? '')) return refused('provider', error)
    return refused('mail', error, responseCode >= 500 && responseCode !== 503)
  }
  if (code === 'EENVELOPE') return refused('mail', 'bad_address', true)
  if (code === 'EDNS' || /^(ECONNREFUSED|EHOSTUNREACH|ENETUNREACH)$/.test(originalCode ?? ''))
    return refused('provider', 'no_connection')
  const isTimeout = code === 'EABORT' || code === 'ETIMEDOUT'
  return { outcome: 'unknown', error: isTimeout ? 'timeout' : 'connection_lost' }
}

/**
 * Server and login of an SMTP URL. Read here and not by the library, which takes options from the query: one of them would
 * turn the check of certificates off.
 */
function serverOf(url: string) {
  const { protocol, hostname, port, username, password } = new URL(url)
  const secure = protocol === 'smtps:'
  const login =
    username === '' ? {} : { auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) } }
  return {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? (secure ? 465 : 587) : Number(port),
    secure,
    ...login,
  }
}

/** The sender in two parts: as one text it would be a list, and `Doorstep, Inc. <…>` two senders. */
function senderOf(from: string): { name: string; address: string } {
  const [, name = '', address = from] = /^(.*)<([^<>]*)>\s*$/.exec(from) ?? []
  return { name: name.trim().replace(/^"(.*)"$/, '$1'), address: address.trim() }
}

/** Milliseconds for each step of the conversation; the whole of it is bounded by the caller. */
const stepMs = 10_000

function createConnection({ url, isPlainAllowed, ca }: SmtpOptions) {
  return createTransport({
    ...serverOf(url),
    requireTLS: !isPlainAllowed,
    ignoreTLS: isPlainAllowed,
    tls: { minVersion: 'TLSv1.2', ...(ca !== undefined && { ca }) },
    dnsTimeout: stepMs,
    connectionTimeout: stepMs,
    greetingTimeout: stepMs,
    socketTimeout: stepMs,
    disableFileAccess: true,
    disableUrlAccess: true,
    logger: false,
  })
}

/** Sends mails by SMTP, never in clear text over a network (ASVS 12.3.1). Logs reply numbers, never an address or a text. */
export function createSmtpSender(options: SmtpOptions): MailSender {
  const { clock, log } = options
  const from = senderOf(options.from)
  const breaker = createBreaker(clock)
  const transport = createConnection(options)

  const call = async ({ messageId, to, subject, text, html }: Mail, timeoutMs: number): Promise<MailResult> => {
    try {
      await transport.sendMail({
        from,
        // Never as a text, which would be a list of addresses.
        to: { name: '', address: to },
        messageId: `<${messageId}>`,
        headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
        subject,
        text,
        html,
        // The library's own time-outs start again with every byte; this one does not.
        signal: AbortSignal.timeout(timeoutMs),
      })
      return { outcome: 'sent' }
    } catch (error) {
      return readFailure(error as Failure)
    }
  }

  /** Tells the breaker and the log. A server that refuses one mail, for whatever reason, works: nobody silences it for all. */
  const note = (result: MailResult) => {
    if (result.outcome === 'sent') return breaker.succeeded()
    if (ourFaults.includes(result.error)) breaker.trip()
    else if (result.outcome === 'refused' && result.reason === 'mail') breaker.succeeded()
    else breaker.failed()
    const level = ourFaults.includes(result.error) ? 'error' : 'warn'
    log(level, { ...result, provider: 'smtp', breaker_open: !breaker.isAvailable() }, 'a mail was not accepted')
  }

  const send = async (mail: Mail, { timeoutMs }: { timeoutMs: number }): Promise<MailResult> => {
    if (!breaker.tryEnter()) return { outcome: 'refused', reason: 'provider', isCertain: false, error: 'breaker_open' }
    const result = await call(mail, timeoutMs)
    note(result)
    return result
  }

  return { send, isAvailable: breaker.isAvailable, close: () => transport.close() }
}
