import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateSecretKeys } from '../security/secrets.ts'
import type { Random } from '../system.ts'

/** The file in `DATA_DIR` that keeps the secrets made for development. */
const developmentSecretsFile = 'secrets.env'

/**
 * The `SECRET_KEYS` value of this development machine: made at the first start, the same at every later one, so that
 * a restart signs nobody out. Never called in production.
 *
 * @param dataDir Made when missing, for its owner only (0700); the file in it has mode 0600.
 * @throws Error when the directory or the file cannot be read or written, or the file holds no `SECRET_KEYS` line.
 */
export function developmentSecretKeys(dataDir: string, random: Random): string {
  const path = join(dataDir, developmentSecretsFile)
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  if (readKeys(path) === undefined) writeOnce(path, random)
  const keys = readKeys(path)
  if (!keys) throw new Error(`${developmentSecretsFile} holds no SECRET_KEYS line`)
  return keys
}

/** The value in the file: nothing when there is no file yet, empty when the file has no such line. */
function readKeys(path: string): string | undefined {
  try {
    return /^SECRET_KEYS=(.+)$/m.exec(readFileSync(path, 'utf8'))?.[1]?.trim() ?? ''
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined
    throw error
  }
}

/** Two processes may start at once: linking a finished file never overwrites, and nobody reads half a line. */
function writeOnce(path: string, random: Random): void {
  const draft = `${path}.${random.uuid()}`
  writeFileSync(draft, `SECRET_KEYS=${generateSecretKeys(random)}\n`, { flag: 'wx', mode: 0o600 })
  try {
    linkSync(draft, path)
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw error
  } finally {
    rmSync(draft)
  }
}

function isSystemError(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
