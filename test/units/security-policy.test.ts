import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { eventCatalogue } from '../../src/events.ts'
import { maxAttempts } from '../../src/security/challenge.ts'

// Who relies on what the documents promise must find it in the project.

const top = new URL('../../', import.meta.url)
const read = (path: string): string => readFileSync(new URL(path, top), 'utf8')
const policy = read('.github/SECURITY.md')
const codeSpans = (text: string): string[] => [...text.matchAll(/`([^`\n]+)`/g)].map(([, span]) => span as string)

t.test('every file that the documents name is there', async (t) => {
  for (const document of ['.github/SECURITY.md', '.github/CONTRIBUTING.md']) {
    const paths = codeSpans(read(document)).filter((span) =>
      /^(\.?(src|test|prisma|ci|biome|github)\/[\w./-]+)$/.test(span),
    )
    t.ok(paths.length > 3, `${document} names files`)
    for (const path of paths) t.ok(existsSync(new URL(path, top)), `${document}: ${path}`)
  }
})

t.test('every defence of the threat table names the test that proves it', async (t) => {
  const table = policy.slice(policy.indexOf('| who | what they try |')).split('\n\n', 1)[0] ?? ''
  const rows = table.split('\n').slice(2)
  t.ok(rows.length > 15)
  for (const row of rows) t.match(row.split('|').at(-2), /`test\/[\w/-]+\.test\.ts`/, row.slice(0, 60))
})

t.test('events and numbers in it are those of the code', async (t) => {
  const events = codeSpans(policy).filter((span) => /^[a-z]+\.[a-z]+$/.test(span))
  t.ok(events.length >= 3)
  for (const event of events) t.ok(event in eventCatalogue, event)
  t.equal(maxAttempts, 5, 'tries per code')
  t.match(policy, /20 failures in any 24 hours, 100 in any 30 days/)
  t.match(
    read('test/attacks/brute-force.test.ts'),
    /20 in any 24 hours, 100 in any 30 days/,
    'which that test is about',
  )
})
