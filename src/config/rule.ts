import { methodsOf, type Name, type Values } from './schema.ts'

/** A condition over settings. The first of `about` is the one to correct; nothing is said while one is malformed. */
export type Rule = { about: [Name, ...Name[]]; wanted: string; holds(values: Values): boolean }

/** Rules that hold everywhere, those that wall development in, and the floors of production. */
export type Rules = { always: Rule[]; inDevelopment: Rule[]; inProduction: Rule[] }

export const rule = (about: Rule['about'], wanted: string, holds: Rule['holds']): Rule => ({ about, wanted, holds })

export const between = (name: Name, least: number, most: number): Rule =>
  rule([name], `must be from ${least} to ${most} in production`, (values) => {
    const value = Number(values[name])
    return value >= least && value <= most
  })

export const required = (name: Name, hint = ''): Rule =>
  rule([name], `is required in production${hint}`, (values) => values[name] !== undefined)

/** `name` is wanted as soon as `by`, which says who sends, has `value`. */
export const neededBy = (by: Name, value: string, name: Name): Rule =>
  rule([name, by], `is required by ${by}=${value}`, (values) => values[by] !== value || values[name] !== undefined)

export const listsTexts = (values: Values): boolean => methodsOf(values).includes('sms')

export const listsPasskeys = (values: Values): boolean => methodsOf(values).includes('passkey')
