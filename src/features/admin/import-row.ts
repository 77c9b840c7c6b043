import Type from 'typebox'
import Value from 'typebox/value'
import { Problem } from '../../errors.ts'
import { fromBase32, toBase32 } from '../../security/base32.ts'
import { canonicalEmail } from '../../security/email.ts'
import type { Services } from '../../services.ts'
import type { ImportedUser } from '../../store/imports.ts'
import { sealSecret } from '../factors/totp/index.ts'
import { readMoment } from '../iso-time.ts'
import { locale } from '../login/fields.ts'
import { externalId } from './external-id.ts'
import { longestLine } from './import-lines.ts'

/** Why a row made no user; `message` is for people, and repeats nothing of the row. */
export type RowFailure = {
  code: 'invalid_request' | 'hash_not_accepted' | 'phone_not_allowed' | 'conflict'
  message: string
}

export type ReadServices = Pick<Services, 'config' | 'clock' | 'random' | 'sealer' | 'passwordHash' | 'phoneNumbers'>

/** A row as it is written; what is null is not there. */
const ImportRow = Type.Object(
  {
    email: Type.String({ maxLength: 320 }),
    email_confirmed: Type.Optional(Type.Boolean()),
    external_id: Type.Optional(externalId),
    password_hash: Type.Optional(Type.String()),
    phone: Type.Optional(Type.String({ maxLength: 256 })),
    phone_confirmed: Type.Optional(Type.Boolean()),
    totp_secret: Type.Optional(Type.String({ maxLength: 256 })),
    locale: Type.Optional(locale),
    two_factor: Type.Optional(Type.Enum(['required', 'optional', 'off'])),
    disabled: Type.Optional(Type.Boolean()),
    created_at: Type.Optional(Type.Refine(Type.String({ maxLength: 40 }), (text) => readMoment(text) !== null)),
  },
  { additionalProperties: false },
)

/**
 * The user that a line describes, or why it describes none: everything is looked at here that does not depend on other users,
 * and a hash is read but never computed. A phone that was not confirmed is no factor, and left out.
 */
export function readRow(services: ReadServices, text: string | null): ImportedUser | RowFailure {
  const row = parse(text)
  if (row === null) return refused('the line', `must be one JSON object in UTF-8 of at most ${longestLine} bytes`)
  if (!Value.Check(ImportRow, row)) return refused(nameOfMistake(row), 'is not what may stand there')
  const { config, clock, random, passwordHash, phoneNumbers } = services
  try {
    const email = canonicalEmail(row.email)
    const createdMs = row.created_at === undefined ? null : readMoment(row.created_at)
    if (createdMs !== null && !(createdMs >= 0 && createdMs <= clock.nowMs())) {
      return refused('created_at', 'must be a moment between 1970 and now')
    }
    const wanted = row.password_hash === undefined ? null : passwordHash.refusalOf(row.password_hash)
    if (wanted !== null) return { code: 'hash_not_accepted', message: `password_hash must be ${wanted}` }
    const id = random.uuid()
    const secret = row.totp_secret === undefined ? null : appSecret(row.totp_secret)
    if (secret === '') return refused('totp_secret', 'must be 10 to 64 bytes in base 32')
    return {
      id,
      email,
      external_id: row.external_id ?? null,
      email_confirmed: row.email_confirmed ?? false,
      locale: row.locale ?? 'en',
      password_hash: row.password_hash ?? null,
      two_factor: row.two_factor ?? config.twoFactor,
      disabled: row.disabled ?? false,
      created_at: createdMs === null ? null : createdMs / 1_000,
      phone: row.phone !== undefined && row.phone_confirmed ? phoneNumbers.parse(row.phone) : null,
      totp: secret === null ? null : newApp(services, id, secret),
    }
  } catch (error) {
    return failureOf(error)
  }
}

/** Null for what is no JSON object. */
function parse(text: string | null): object | null {
  try {
    const row: unknown = JSON.parse(text ?? '')
    if (typeof row !== 'object' || row === null || Array.isArray(row)) return null
    return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null))
  } catch {
    return null
  }
}

const refused = (name: string, message: string): RowFailure => ({
  code: 'invalid_request',
  message: `${name} ${message}`,
})

/** The first name that is wrong; of names that a row does not have, none is repeated. */
function nameOfMistake(row: object): string {
  const known = Object.keys(ImportRow.properties)
  if (Object.keys(row).some((name) => !known.includes(name))) return 'a name'
  const wrong = known.find((name) => {
    const value = (row as Record<string, unknown>)[name]
    const schema = ImportRow.properties[name as keyof typeof ImportRow.properties]
    return value === undefined ? name === 'email' : !Value.Check(schema, value)
  })
  return wrong ?? 'the row'
}

/** As an app has it, in capitals and without what people put in between; empty where it is none. */
function appSecret(written: string): string {
  const plain = written
    .replaceAll(/[\s-]/g, '')
    .replace(/={0,6}$/, '')
    .toUpperCase()
  // No text of whole bytes is 1, 3 or 6 letters longer than a multiple of eight.
  if (!/^[A-Z2-7]+$/.test(plain) || [1, 3, 6].includes(plain.length % 8)) return ''
  const bytes = fromBase32(plain)
  return bytes.length >= 10 && bytes.length <= 64 ? toBase32(bytes) : ''
}

function newApp(services: ReadServices, userId: string, secret: string) {
  const id = services.random.uuid()
  return { id, secret: sealSecret(services, { userId, id }, secret) }
}

function failureOf(error: unknown): RowFailure {
  if (!(error instanceof Problem)) throw error
  if (error.code === 'phone_not_allowed') return { code: error.code, message: `phone: ${error.extras.detail}` }
  const [mistake] = error.extras.errors ?? []
  return refused(mistake?.pointer.slice(1) ?? 'the row', mistake?.message ?? 'is not accepted')
}
