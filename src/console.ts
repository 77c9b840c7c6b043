import { existsSync } from 'node:fs'
import { isDatabaseAway, isLocked, refusalOf, sqlStateOf } from './store/away.ts'

/** Reads `.env` of the working directory, in development only; what is set already stays as it is. */
export function readDotEnv(): void {
  if (process.env.NODE_ENV === 'production' || !existsSync('.env')) return
  try {
    process.loadEnvFile('.env')
  } catch {
    throw new Error('the file .env is there, but cannot be read')
  }
}

/** What a person reads when the service cannot start: one clear line, or the list of mistaken settings. */
export function explainStartError(error: unknown, failure = 'Doorstep could not start'): string {
  const { name, code, message, port, path, cause } = error as Error & { code?: string; port?: number; path?: string }
  if (name === 'ConfigError' || name === 'InUse') return message
  if (code === 'EADDRINUSE')
    return `Port ${port} is taken. Set PORT or METRICS_PORT to another one, or stop what listens there.`
  if (code === 'EACCES' && port !== undefined)
    return `Port ${port} may not be used by this user. Set PORT or METRICS_PORT to one above 1023.`
  if (code === 'EADDRNOTAVAIL') return 'This machine does not have the address in HOST or METRICS_HOST.'
  if (['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST'].includes(code ?? ''))
    return `${path ?? 'DATA_DIR'} is not writable. Set DATA_DIR to a folder that is.`
  const refusal = refusalOf(error as Error)
  if (refusal !== undefined)
    return `The database in DATABASE_URL refuses: ${inOneLine(refusal)}${hintOf(error as Error)}`
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return 'The host in DATABASE_URL is not known: its name, or the DNS of this machine, is not right.'
  if (isLocked(error as Error))
    return 'Another session of the database holds a lock on what is needed here. Try again once it is done.'
  if (isDatabaseAway(error as Error)) return 'The database in DATABASE_URL cannot be reached, or does not answer.'
  const reason = cause instanceof Error ? `${message}: ${cause.message}` : message
  return `${failure}: ${inOneLine(reason)}${hintOf(cause)}`
}

/** Where Postgres says what a role may not do: who may. */
function hintOf(error: unknown): string {
  if (!(error instanceof Error) || sqlStateOf(error) !== '42501') return ''
  return '. The command "migrate" needs the role that owns the tables; what any other role needs is in README'
}

const inOneLine = (text: string): string => text.replace(/\s+/g, ' ').trim()

/** What a newcomer sees: where to read, three lines that complete a login, and `page`, where the example page is. */
export function welcome(address: string, page: string, user: { email: string; password: string }): string {
  const body = (value: object): string => `-H 'content-type: application/json' -d '${JSON.stringify(value)}'`
  const read = (name: string): string => `node -pe 'JSON.parse(require("fs").readFileSync(0)).${name}'`
  return `
Doorstep is ready. Docs: ${address}/docs   Texts: ${address}/dev/sms

Sign in as the demo user (copy these three lines):

  PENDING=$(curl -s ${address}/login ${body(user)} | ${read('pending_token')})
  CODE=$(curl -s ${address}/dev/sms | ${read('messages[0].body.match(/#(\\d+)/)[1]')})
  curl -s ${address}/me -H "authorization: Bearer $(curl -s ${address}/login/2fa -H "authorization: Bearer $PENDING" -H 'content-type: application/json' -d "{\\"code\\":\\"$CODE\\"}" | ${read('access_token')})"

Or open the example page, which registers and signs in with every method:

  ${page}
`
}
