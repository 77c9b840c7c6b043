import { readFileSync } from 'node:fs'
import t from 'tap'
import { settings } from '../../src/config.ts'

const example = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
const blocks = example.split('\n\n').filter((block) => /^# [A-Z][A-Z0-9_]*=/m.test(block))

t.test('.env.example lists every setting with its meaning and default, in the order of the schema', (t) => {
  const expected = settings.map(({ name, description, secret, constant, default: fallback }) =>
    [
      `# ${description}${secret ? ' (secret)' : ''}`,
      ...(fallback && !constant ? [`# Default: ${fallback}`] : []),
      `# ${name}=${constant ? fallback : ''}`,
    ].join('\n'),
  )
  t.same(
    blocks.map((block) => block.trim()),
    expected,
  )
  t.end()
})

t.test(
  '.env.example changes nothing when it is copied as it is, and holds no secret that could be left in use',
  (t) => {
    t.same(
      example.split('\n').filter((line) => line !== '' && !line.startsWith('#')),
      [],
    )
    for (const { name } of settings.filter(({ secret }) => secret)) t.match(example, `\n# ${name}=\n`)
    t.end()
  },
)

t.test('every setting says what it means', (t) => {
  for (const { name, description } of settings) t.ok(description.length >= 10, name)
  t.same(new Set(settings.map(({ name }) => name)).size, settings.length)
  t.end()
})
