import type { About } from './kinds.ts'
import { environment, type Values } from './schema.ts'
import { withoutSlash } from './values.ts'

/** The address that clients use. */
export const publicUrlOf = (values: Values) => withoutSlash(values.PUBLIC_URL ?? `http://localhost:${values.PORT}`)

/** The host in the last line of a text. */
export const smsOriginOf = (values: Values) => values.SMS_ORIGIN?.toLowerCase() ?? new URL(publicUrlOf(values)).hostname

/** Every setting for documents: the default as text (`constant`: it can be written as the value), and the meaning. */
export const settings = Object.entries(environment.properties).map(([name, schema]: [string, About]) => ({
  name,
  default: String(schema.default ?? schema.unset ?? ''),
  constant: schema.default !== undefined,
  description: schema.description,
  secret: schema.secret === true,
}))
