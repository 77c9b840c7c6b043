import { type AddressInfo, createServer, type Socket } from 'node:net'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'

/**
 * - `ok`: accepts. `silent`: never answers RCPT. `dieAfterData`: takes the whole mail, then cuts.
 * - `refuse`: that reply to RCPT.
 *   `refuseData`: to the whole mail, `refuseSender`: to MAIL, `refuseAll`: as a greeting.
 */
export type SmtpMode =
  | 'ok'
  | 'silent'
  | 'dieAfterData'
  | { refuse: number }
  | { refuseData: number }
  | { refuseSender: number }
  | { refuseAll: number }

type Refusal = 'refuse' | 'refuseData' | 'refuseSender' | 'refuseAll'

/** One mail that was taken, as it came. */
export type TakenMail = {
  from: string
  to: string[]
  isSecure: boolean
  isUtf8: boolean
  user: string | undefined
  raw: string
}

type Replies = (error?: Error | null) => void
const reply = (responseCode: number): Error => Object.assign(new Error('as the test wants it'), { responseCode })

/** A mail provider on this machine. With `options.cert` it offers STARTTLS (or speaks TLS at once if `secure`). */
export async function startSmtpStub(options: SMTPServerOptions & { login?: { user: string; pass: string } } = {}) {
  const taken: TakenMail[] = []
  const sockets = new Set<Socket>()
  let mode: SmtpMode = 'ok'
  let tries = 0
  const refusal = (name: Refusal): number | undefined =>
    typeof mode === 'object' ? (mode as Record<string, number>)[name] : undefined
  const judge = (name: Refusal, done: Replies): void => {
    const code = refusal(name)
    done(code === undefined ? null : reply(code))
  }

  const { login, ...given } = options
  const server = new SMTPServer({
    authOptional: login === undefined,
    disableReverseLookup: true,
    logger: false,
    ...(given.cert === undefined && { hideSTARTTLS: true, disabledCommands: ['STARTTLS'] }),
    ...given,
    onConnect: (_session, done) => {
      tries += 1
      judge('refuseAll', done)
    },
    onAuth: (auth, _session, done) =>
      auth.username === login?.user && auth.password === login?.pass
        ? done(null, { user: auth.username })
        : done(reply(535)),
    onMailFrom: (_address, _session, done) => judge('refuseSender', done),
    onRcptTo: (_address, _session, done) => {
      if (mode !== 'silent') judge('refuse', done)
    },
    onData: async (stream, session, done) => {
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk as Buffer)
      const { mailFrom, rcptTo } = session.envelope
      taken.push({
        from: mailFrom === false ? '' : (mailFrom?.address ?? ''),
        to: rcptTo.map(({ address }) => address),
        isSecure: session.secure,
        isUtf8: Boolean(mailFrom && (mailFrom.args as Record<string, unknown> | undefined)?.SMTPUTF8),
        user: session.user as string | undefined,
        raw: Buffer.concat(chunks).toString('utf8'),
      })
      if (mode === 'dieAfterData') for (const socket of sockets) socket.destroy()
      else judge('refuseData', done)
    },
  })
  server.on('error', () => {})
  server.server.on('connection', (socket: Socket) => sockets.add(socket))
  await new Promise<void>((resolve) => {
    server.listen(0, 'localhost', resolve)
  })
  const { port } = server.server.address() as AddressInfo
  return {
    port,
    url: `${given.secure ? 'smtps' : 'smtp'}://localhost:${port}`,
    taken,
    tries: () => tries,
    setMode: (next: SmtpMode): void => {
      mode = next
    },
    close: async (): Promise<void> => {
      // Clients have gone by now. To destroy a socket that TLS runs over would end this process (Node 20.20).
      await new Promise((resolve) => server.server.close(resolve))
    },
  }
}

/** A server whose second reply comes byte by byte and never to an end, which no time-out between two bytes notices. */
export async function startDripping() {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
    socket.write('220 localhost\r\n')
    socket.once('data', () => {
      socket.write('250-')
      const timer = setInterval(() => socket.write('x'), 20)
      socket.on('close', () => clearInterval(timer))
    })
  })
  await new Promise<void>((resolve) => {
    server.listen(0, 'localhost', resolve)
  })
  return {
    url: `smtp://localhost:${(server.address() as AddressInfo).port}`,
    close: async (): Promise<void> => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** The headers of a mail, unfolded, by name in small letters; and the text of its parts, decoded. */
export function readMail(raw: string): { headers: [name: string, value: string][]; text: string; html: string } {
  const [head = '', ...rest] = raw.split('\r\n\r\n')
  const headers = head
    .replace(/\r\n[ \t]+/g, ' ')
    .split('\r\n')
    .map((line): [string, string] => [
      line.slice(0, line.indexOf(':')).toLowerCase(),
      decodeWords(line.slice(line.indexOf(':') + 1).trim()),
    ])
  const boundary = /boundary="([^"]+)"/.exec(head)?.[1] ?? ''
  const parts = rest.join('\r\n\r\n').split(`--${boundary}`)
  const part = (type: string): string => {
    const [partHead = '', ...body] = (parts.find((it) => it.includes(`Content-Type: ${type}`)) ?? '').split('\r\n\r\n')
    return decode(body.join('\r\n\r\n'), partHead).replaceAll('\r\n', '\n').trimEnd()
  }
  return { headers, text: part('text/plain'), html: part('text/html') }
}

const fromHex = (text: string): string =>
  Buffer.from(
    text.replace(/=([0-9A-F]{2})/g, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  ).toString('utf8')

function decode(body: string, head: string): string {
  if (/base64/i.test(head)) return Buffer.from(body, 'base64').toString('utf8')
  return /quoted-printable/i.test(head) ? fromHex(body.replace(/=\r\n/g, '')) : body
}

function decodeWords(value: string): string {
  return value
    .replace(/\?=\s+=\?/g, '?==?')
    .replace(/=\?utf-8\?([bq])\?([^?]*)\?=/gi, (_all, kind: string, text: string) =>
      kind.toLowerCase() === 'b' ? Buffer.from(text, 'base64').toString('utf8') : fromHex(text.replaceAll('_', ' ')),
    )
}
