import Type, { type TSchema } from 'typebox'
import { isUniqueList, pairsOf } from './values.ts'

/** What people are told about a setting; `unset` says what holds without it where there is no fixed default. */
export type About = {
  description: string
  wanted: string
  default?: string | number
  unset?: string
  secret?: boolean
}

export const plainUrl = 'an http or https address without credentials, query or fragment'

/** The schema with `about` written into it. */
export const setting = <S extends TSchema, A extends About>(schema: S, about: A): S & A => Object.assign(schema, about)

export const whole = (fallback: number, minimum: number, maximum: number, description: string) =>
  setting(Type.Integer({ minimum, maximum }), {
    default: fallback,
    description,
    wanted: `a whole number from ${minimum} to ${maximum}`,
  })

/** How many of something in some time. */
export const limit = (fallback: number, description: string) => whole(fallback, 1, 1_000_000_000, description)

/** A whole number whose default is not fixed: `unset` says it. */
export const optionalWhole = (unset: string, minimum: number, maximum: number, description: string) =>
  setting(Type.Optional(Type.Integer({ minimum, maximum })), {
    unset,
    description,
    wanted: `a whole number from ${minimum} to ${maximum}`,
  })

export const oneOf = <const V extends string>(fallback: V, values: V[], description: string) =>
  setting(Type.Enum(values), { default: fallback, description, wanted: `one of ${values.join(', ')}` })

type Holds = (value: string) => boolean

export const text = (fallback: string, description: string, wanted: string, holds: Holds) =>
  setting(Type.Refine(Type.String(), holds), { default: fallback, description, wanted })

export const optional = (unset: string, description: string, wanted: string, holds: Holds) =>
  setting(Type.Optional(Type.Refine(Type.String(), holds)), { unset, description, wanted })

/** As `optional`; the value may come from a file and is never shown. */
export const secret = (unset: string, description: string, wanted: string, holds: Holds) =>
  setting(Type.Optional(Type.Refine(Type.String(), holds)), { unset, description, wanted, secret: true })

export const matching =
  (pattern: RegExp): Holds =>
  (value) =>
    pattern.test(value)

export const url =
  (pattern: RegExp): Holds =>
  (value) =>
    pattern.test(value) && URL.canParse(value)

/** `id:value,…` with ids of 1-32 letters, digits, `_` and `-`, each once, and values that `holds` accepts. */
export const pairs =
  (holds: Holds): Holds =>
  (value) => {
    const list = pairsOf(value)
    return isUniqueList(list.map(({ id }) => id)) && list.every((it) => /^[\w-]{1,32}$/.test(it.id) && holds(it.value))
  }
