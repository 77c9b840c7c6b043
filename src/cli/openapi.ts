import { readFile, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { buildApp } from '../app.ts'
import { loadConfig } from '../config.ts'
import { createLog } from '../log.ts'
import { createConsoleMailbox } from '../mail/console.ts'
import { createMetrics } from '../metrics.ts'
import { createSecrets, generateSecretKeys } from '../security/secrets.ts'
import type { BaseServices } from '../services.ts'
import { createConsoleSender } from '../sms/console.ts'
import { systemClock, systemRandom } from '../system.ts'
import { refusal } from './failures.ts'

/** `openapi.yaml` at the project's top. */
const committedFile = fileURLToPath(new URL('../../openapi.yaml', import.meta.url))

/**
 * Writes the OpenAPI document to `path`, or with `check` only compares: throws a refusal where the file says something
 * else. The document is the same on every machine: it is that of a development service with default settings.
 */
export async function writeOpenApi({
  path = committedFile,
  check,
}: {
  path?: string
  check: boolean
}): Promise<{ path: string; changed: boolean }> {
  const text = await describeApi()
  const changed = (await readFile(path, 'utf8').catch(() => '')) !== text
  if (changed && check) throw refusal(`${path} is not what the code says. Run the command "openapi" and commit it.`)
  if (changed) await writeFile(path, text).catch(refuseToWrite(path))
  return { path, changed }
}

const refuseToWrite = (path: string) => (error: NodeJS.ErrnoException) => {
  throw refusal(`${path} cannot be written: ${error.code}`)
}

async function describeApi(): Promise<string> {
  const app = await buildApp(createRouteServices())
  const text = stringify(app.swagger(), { lineWidth: 0, aliasDuplicateObjects: false })
  await app.close()
  return text
}

/** What the routes need to exist. What only a request would use, such as the database, fails when it is touched. */
function createRouteServices(): BaseServices {
  const config = loadConfig({ PUBLIC_URL: 'http://localhost:3000', SECRET_KEYS: generateSecretKeys(systemRandom) })
  const inbox = createConsoleSender({ clock: systemClock, print: () => {} })
  const mailbox = createConsoleMailbox({ clock: systemClock, print: () => {} })
  const unused: never = new Proxy({} as never, {
    get: (_target, name) => {
      throw new Error(`The description of the routes wants to use ${String(name)}`)
    },
  })
  return {
    config,
    clock: systemClock,
    random: systemRandom,
    log: createLog('silent'),
    metrics: createMetrics(),
    secrets: createSecrets(config.secretKeys),
    keyRing: unused,
    refreshTokens: unused,
    deviceTokens: unused,
    sms: inbox,
    inbox,
    mail: mailbox,
    mailbox,
    mailBell: unused,
    webhookSecrets: unused,
    webhookPoster: unused,
    events: unused,
    background: unused,
    store: unused,
    passwordHash: unused,
    loginThrottle: unused,
    loginFloor: unused,
    loginTurns: unused,
    tryTurns: unused,
    oneTimeCodes: unused,
    challengeRules: unused,
    phoneNumbers: unused,
    passkeys: unused,
    recoveryCodes: unused,
    sealer: unused,
    mailLinks: unused,
    linkRules: unused,
    passwordPolicy: unused,
    close: async () => {},
  }
}
