import type { ParseArgsConfig } from 'node:util'
import type { Config } from '../config.ts'
import type { BaseServices } from '../services.ts'
import { usageError } from './failures.ts'

/** Where a command runs: its streams, and the settings it finds. */
export type Place = Pick<NodeJS.Process, 'stdin' | 'stdout' | 'stderr'> & {
  settings(): Record<string, string | undefined>
}

/** The options that were typed. */
export type Given = Record<string, unknown>

/** What may follow the words of a command, and what it does; its answer is what standard output says. */
export type Command = {
  usage: string
  options: NonNullable<ParseArgsConfig['options']>
  run(given: Given, place: Place): Promise<object>
}

export const text = { type: 'string' } as const
export const flag = { type: 'boolean' } as const

/** Does `work` with the services that the settings describe. */
export async function serve(
  place: Place,
  work: (services: BaseServices) => Promise<object>,
  how: { replacesKeys?: boolean } = {},
): Promise<object> {
  const config = await configOf(place)
  const { withServices } = await import('./services.ts')
  return withServices({ config, log: place.stderr, say: sayAt(place), ...how }, work)
}

export async function configOf(place: Place): Promise<Config> {
  const settings = place.settings()
  return (await import('../config.ts')).loadConfig(settings)
}

export const sayAt =
  ({ stderr }: Place) =>
  (line: string) =>
    void stderr.write(`${line}\n`)

/** Throws a usage error where the option is missing. */
export function required(given: Given, name: string): string {
  const value = given[name]
  if (typeof value !== 'string') throw usageError(`--${name} is missing.`)
  return value
}
