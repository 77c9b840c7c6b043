import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { settings } from '../../src/config.ts'
import { problemCatalogue } from '../../src/errors.ts'
import { methodNames } from '../../src/methods.ts'
import { runHere } from './cli.ts'

type Schema = {
  $ref?: string
  enum?: unknown[]
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  oneOf?: Schema[]
  anyOf?: Schema[]
}
type Media = { schema: Schema; examples?: Record<string, unknown> }
type Operation = {
  security?: object[]
  parameters?: { name: string; in: string }[]
  requestBody?: { content: Record<string, Media> }
  responses: Record<string, { content?: Record<string, Media>; headers?: object }>
}
type Document = {
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema>; securitySchemes: object }
}
const document = parse(readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8')) as Document

/** What clients, operators and scripts may have built on, by name. */
export type PublicSurface = {
  problems: Record<string, number>
  methods: string[]
  settings: string[]
  commands: string[]
  securitySchemes: string[]
  calls: Record<string, { security: string[]; takes: string[]; needs: string[]; answers: Record<string, string[]> }>
}

const whole = (schema: Schema): Schema =>
  schema.$ref === undefined
    ? schema
    : (document.components.schemas[schema.$ref.replace('#/components/schemas/', '')] as Schema)

/** The names of all fields, with those inside them and the words that they may hold: `challenge.method`, `status=authenticated`. */
function fieldsOf(given: Schema, before = ''): string[] {
  const schema = whole(given)
  const alternatives = schema.oneOf ?? schema.anyOf ?? []
  const inside = [...alternatives, ...(schema.items ? [schema.items] : [])].flatMap((it) => fieldsOf(it, before))
  const own = Object.entries(schema.properties ?? {}).flatMap(([name, field]) => [
    `${before}${name}`,
    ...(whole(field).enum ?? []).map((value) => `${before}${name}=${value}`),
    ...fieldsOf(field, `${before}${name}.`),
  ])
  return [...new Set([...own, ...inside])].sort()
}

/** The fields without which a call is refused, whichever alternative is taken. */
function neededBy(given: Schema): string[] {
  const schema = whole(given)
  const [first = [], ...others] = (schema.oneOf ?? schema.anyOf ?? []).map(neededBy)
  const common = first.filter((name) => others.every((it) => it.includes(name)))
  return [...new Set([...(schema.required ?? []), ...common])].sort()
}

const calls = Object.fromEntries(
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const bodies = Object.values(operation.requestBody?.content ?? {}).map(({ schema }) => schema)
      const answers = Object.entries(operation.responses).map(([status, { content = {} }]) => [
        status,
        Object.entries(content).flatMap(([type, { schema, examples }]) =>
          type === 'application/problem+json' ? Object.keys(examples ?? {}) : fieldsOf(schema),
        ),
      ])
      const told = {
        security: (operation.security ?? []).flatMap(Object.keys).sort(),
        takes: [
          ...bodies.flatMap((it) => fieldsOf(it)),
          ...(operation.parameters ?? []).map(({ name }) => name),
        ].sort(),
        needs: bodies.flatMap(neededBy),
        answers: Object.fromEntries(answers) as Record<string, string[]>,
      }
      return [`${method.toUpperCase()} ${path}`, told]
    }),
  ),
)

/** As it is now. */
export async function publicSurface(): Promise<PublicSurface> {
  const { stderr: usage } = await runHere(['--help'], { env: {} })
  const commands = usage
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
    .filter(Boolean)
  return {
    problems: Object.fromEntries(Object.entries(problemCatalogue).map(([code, { status }]) => [code, status])),
    methods: [...methodNames],
    settings: settings.map(({ name }) => name),
    commands: commands.flatMap((line) => {
      const [words = ''] = line.split(/ (?=[-[])/)
      return [words, ...(line.match(/--[a-z-]+/g) ?? []).map((option) => `${words} ${option}`)]
    }),
    securitySchemes: Object.keys(document.components.securitySchemes),
    calls,
  }
}
