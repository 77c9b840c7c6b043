import type { FastifyContextConfig } from 'fastify'
import { type Method, methodNames } from '../methods.ts'

/** As much of a JSON schema as an example is made from. */
export type DocumentedSchema = {
  $ref?: string
  const?: unknown
  enum?: unknown[]
  type?: string
  examples?: unknown[]
  properties?: Record<string, DocumentedSchema>
  items?: DocumentedSchema
  oneOf?: DocumentedSchema[]
  anyOf?: DocumentedSchema[]
}

/**
 * Whole examples of an answer, put together from those of its fields, so that they cannot drift from the schema: one,
 * or one for each alternative. `named` holds the schemas that are referred to.
 */
export function examplesOf(schema: DocumentedSchema, named: Record<string, DocumentedSchema>): unknown[] {
  if (schema.examples) return schema.examples
  if (schema.$ref !== undefined) return examplesOf(named[schema.$ref.replace(/#$/, '')] ?? {}, named)
  if (schema.oneOf) return schema.oneOf.flatMap((alternative) => examplesOf(alternative, named))
  if (schema.anyOf) return examplesOf(schema.anyOf[0] ?? {}, named)
  if ('const' in schema) return [schema.const]
  if (schema.enum) return schema.enum.slice(0, 1)
  if (schema.type === 'boolean') return [true]
  if (schema.type === 'null') return [null]
  if (schema.items) return [examplesOf(schema.items, named).slice(0, 1)]
  const fields = Object.entries(schema.properties ?? {}).map(([name, field]) => ({
    name,
    values: examplesOf(field, named),
  }))
  if (fields.length === 0) return []
  // A field with alternatives makes as many examples of the whole.
  const many = fields.find(({ name }) => schema.properties?.[name]?.oneOf)
  return (many?.values ?? [undefined]).map((value) =>
    Object.fromEntries(fields.map((field) => [field.name, field === many ? value : field.values[0]])),
  )
}

type Named = { status?: unknown; method?: unknown; setup?: unknown }
type Challenged = { challenge?: Named | null; methods?: unknown[] }

/** Those examples that a route answers with, where it says which challenges these are. */
export const examplesWith = (examples: unknown[], challenges: FastifyContextConfig['challenges']): unknown[] =>
  examples.filter((value) => {
    const { challenge } = (value ?? {}) as { challenge?: { method: Method; setup?: unknown } }
    return !challenge || !challenges || challenges(challenge)
  })

/** The methods of an example are such as can be with its challenge: that one and what comes after it. */
function withItsMethods(value: unknown): unknown {
  const { challenge, methods } = (value ?? {}) as Challenged
  if (!challenge || !methods) return value
  const { method, setup } = challenge
  const order: readonly unknown[] = methodNames
  const later = methods.filter((it) => setup === undefined && order.indexOf(it) > order.indexOf(method))
  return { ...(value as object), methods: [method, ...later] }
}

/** Examples by the name that a reader picks them by: what tells alternatives apart, or none but one. */
export function namedExamples(examples: unknown[]): Record<string, { value: unknown }> {
  const nameOf = (value: unknown): string => {
    const { status, challenge, method } = (value ?? {}) as Named & { challenge?: Named }
    const words = [status, challenge?.method ?? method, challenge?.setup && 'setup'].filter(
      (it) => typeof it === 'string',
    )
    return words.length > 0 ? words.join('_') : 'example'
  }
  return Object.fromEntries(examples.map((value) => [nameOf(value), { value: withItsMethods(value) }]))
}
