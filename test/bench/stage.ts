import { fork } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { type Config, loadConfig } from '../../src/config.ts'
import { generateSecretKeys } from '../../src/security/secrets.ts'
import { systemRandom } from '../../src/system.ts'
import { startTwilioStub } from '../helpers/twilio-stub.ts'
import { openPostgres } from './postgres.ts'
import { type Child, startServer } from './process.ts'
import { createSupply, type Supply } from './supply.ts'

export type Stage = Awaited<ReturnType<typeof openStage>>

/** A running Doorstep, its database, and what its callers need. */
export type Site = { url: string; doorstep: Child; supply: Supply; config: Config }

const unlimited = '1000000000'
/** The backend that introspects. */
const backend = `bench:${randomBytes(24).toString('hex')}`

/**
 * Everything the bench measures, each program in a process of its own: Doorstep as in production with a stand-in for
 * Twilio, the floor, bare argon2. Only the limits that would refuse so many logins are lifted. What is
 * opened is given to `onClose`, to be closed in reverse; `settings` change Doorstep's.
 */
export async function openStage(options: {
  users: number
  settings?: Record<string, string>
  onClose: (close: () => unknown) => void
}) {
  const { settings, onClose } = options
  const folder = mkdtempSync(join(tmpdir(), 'doorstep-bench-'))
  onClose(() => rmSync(folder, { recursive: true, force: true }))
  const postgres = await openPostgres()
  onClose(postgres.close)
  const twilio = await startTwilioStub()
  onClose(twilio.close)
  // Memory as the container image sets it.
  const heap = ['--max-old-space-size=256', '--max-semi-space-size=8']
  const allocator = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '67108864', MALLOC_MMAP_THRESHOLD_: '33554432' }
  const environment = { ...allocator, ...productionEnvironment(twilio), ...settings }

  let started = 0
  const start = async (args: string[], env: Record<string, string>): Promise<Child> => {
    started += 1
    const child = await startServer({ args, env, logFile: join(folder, `${started}.log`) })
    onClose(child.close)
    return child
  }
  const startDoorstep = (databaseUrl: string, nodeOptions: string[] = []): Promise<Child> =>
    start([...heap, ...nodeOptions, 'dist/main.js'], { ...environment, DATABASE_URL: databaseUrl })

  /** A Doorstep with a database of its own that has so many `users`. */
  const openSite = async ({ users }: { users: number }): Promise<Site> => {
    const url = await postgres.create()
    const doorstep = await startDoorstep(url)
    const config = loadConfig({ ...environment, DATABASE_URL: url })
    const supply = await createSupply({ url, config, count: users })
    onClose(supply.close)
    return { url, doorstep, supply, config }
  }

  const site = await openSite(options)
  const floorKeys = await prepareFloor(site.url)
  const floor = await start(['--import=tsx', 'test/bench/floor.ts'], { ...floorKeys, DATABASE_URL: site.url })

  const rawArgon2 = fork(new URL('raw-argon2.ts', import.meta.url), { execArgv: ['--import=tsx'] })
  const exited = once(rawArgon2, 'exit')
  onClose(() => rawArgon2.kill() && exited)
  return { folder, postgres, ...site, openSite, startDoorstep, floor, rawArgon2 }
}

function productionEnvironment(twilio: { url: string; accountSid: string; authToken: string }): Record<string, string> {
  const limits = [
    ...['SMS_GLOBAL_HOUR', 'SMS_GLOBAL_DAY', 'SMS_SPEND_DAY'],
    ...['RATE_LOGIN_MINUTE', 'RATE_LOGIN_HOUR', 'RATE_VERIFY_MINUTE', 'RATE_REFRESH_MINUTE', 'RATE_DEFAULT_MINUTE'],
    'RATE_INTROSPECT_MINUTE',
  ]
  return {
    ...Object.fromEntries(limits.map((name) => [name, unlimited])),
    NODE_ENV: 'production',
    PORT: '0',
    PUBLIC_URL: 'https://login.example.com',
    APP_URL: 'https://app.example.com',
    REGISTRATION: 'closed',
    MAIL_PROVIDER: 'none',
    SECRET_KEYS: generateSecretKeys(systemRandom),
    TRUST_PROXY: '127.0.0.1',
    ARGON2_QUEUE: '1000',
    SMS_PROVIDER: 'twilio',
    SMS_ALLOWED_COUNTRIES: 'US',
    TWILIO_ACCOUNT_SID: twilio.accountSid,
    TWILIO_AUTH_TOKEN: twilio.authToken,
    TWILIO_FROM: '+15005550006',
    TWILIO_API_BASE_URL: twilio.url,
    INTROSPECTION_CLIENTS: backend,
  }
}

/** The floor's table, with a row for each of its callers, and its keys. */
async function prepareFloor(databaseUrl: string): Promise<Record<string, string>> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  await client.query('CREATE TABLE bench_floor (id integer PRIMARY KEY, uses integer NOT NULL DEFAULT 0)')
  await client.query('INSERT INTO bench_floor SELECT generate_series(0, $1::integer - 1)', [floorRows])
  await client.end()
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    PENDING_KEY: floorKey,
    PRIVATE_PEM: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    PUBLIC_PEM: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
  }
}

export const floorRows = 10_000
/** The floor signs nothing that is worth anything. */
export const floorKey = 'a key of the floor, which guards nothing'
