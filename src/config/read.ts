import { readFileSync } from 'node:fs'
import Value from 'typebox/value'
import { environment } from './schema.ts'

export type Environment = Record<string, string | undefined>

/**
 * Every setting of `env` by itself: its default when it is unset or empty, the first mistake in it (what is wanted,
 * by the name of the variable) when it is malformed.
 */
export function readSettings(env: Environment) {
  const values: Record<string, string | number> = {}
  const mistakes = new Map<string, string>()
  for (const [name, schema] of Object.entries(environment.properties)) {
    const text = 'secret' in schema ? secretText(env, name, mistakes) : env[name]
    const value = text && 'type' in schema && schema.type === 'integer' ? wholeNumber(text) : text
    const isSet = value !== undefined && value !== ''
    const isSound = isSet && Value.Check(schema, value)
    if (isSet && !isSound) mistakes.set(name, `must be ${schema.wanted}`)
    if (isSound) values[name] = value
    else if ('default' in schema) values[name] = schema.default
  }
  return { values, mistakes }
}

/** Strict decimal; any other text stays text, which no number schema accepts. */
const wholeNumber = (text: string): string | number => (/^(0|[1-9]\d{0,14})$/.test(text) ? Number(text) : text)

/** The secret `name`, or what the file at `<name>_FILE` holds, less one line end. */
function secretText(env: Environment, name: string, mistakes: Map<string, string>): string | undefined {
  const path = env[`${name}_FILE`]
  if (!path) return env[name]
  if (env[name]) {
    mistakes.set(name, `must not be set together with ${name}_FILE`)
    return undefined
  }
  const text = fileText(path)
  if (!text) mistakes.set(name, `must be in a readable file that is not empty, as ${name}_FILE is set`)
  return text
}

function fileText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '')
  } catch {
    return undefined
  }
}
