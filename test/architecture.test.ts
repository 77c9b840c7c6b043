import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const root = fileURLToPath(new URL('../src', import.meta.url))

type Import = { to: string; isType: boolean }
type Source = { path: string; text: string; imports: Import[] }

/** Every file under src, with the files of ours that it imports; what Prisma generates is left out. */
const sources: Source[] = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !path.startsWith(join('store', 'prisma')))
  .map((path) => {
    const text = readFileSync(join(root, path), 'utf8')
    const fixed = text.matchAll(/^(?:import|export) (type )?(?:[^'"]*?from )?'(\.[^']+)'/gm)
    const late = text.matchAll(/import\(()'(\.[^']+)'\)/g)
    const imports = [...fixed, ...late].map(([, type, target = '']) => ({
      to: relative(root, join(root, dirname(path), target)),
      isType: Boolean(type),
    }))
    return { path, text, imports }
  })

const pathOf = ({ path }: Source): string => path
const within = (folder: string) => (path: string) => path.startsWith(`${folder}/`)

/** `importer → imported` for every import that `isWrong`. */
const wrongImports = (isWrong: (from: string, to: string, isType: boolean) => boolean): string[] =>
  sources.flatMap(({ path, imports }) =>
    imports.filter(({ to, isType }) => isWrong(path, to, isType)).map(({ to }) => `${path} → ${to}`),
  )

/** `features/<x>` of a path inside it, otherwise nothing. */
const featureOf = (path: string): string | undefined => /^features\/([^/]+)\//.exec(path)?.[1]

t.test('there is something to look at', async (t) => {
  t.ok(sources.length > 60)
  t.ok(sources.flatMap(({ imports }) => imports).length > 200)
  const known = new Set(sources.map(pathOf))
  const unknown = wrongImports((_from, to) => !known.has(to) && !within('store/prisma')(to))
  t.strictSame(unknown, [], 'every import is understood')
})

t.test('imports run from left to right: http → features → security → store, sms, mail', async (t) => {
  const layers = ['http', 'features', 'security', 'store', 'sms', 'mail']
  const rank = (path: string): number => layers.findIndex((layer) => within(layer)(path))
  t.strictSame(
    wrongImports((from, to) => rank(from) >= 0 && rank(to) >= 0 && rank(to) < rank(from)),
    [],
  )
  // The store may know the words of its neighbour: what a delivery is.
  t.strictSame(
    wrongImports((from, to, isType) => within('store')(from) && within('sms')(to) && !isType),
    [],
  )
  t.strictSame(
    wrongImports((from, to) => within('sms')(from) && within('store')(to)),
    [],
  )
})

t.test('a feature calls the use cases of another, never its routes, and never in a circle', async (t) => {
  const crossing = (from: string, to: string): boolean => {
    const [own, other] = [featureOf(from), featureOf(to)]
    return own !== undefined && other !== undefined && own !== other
  }
  t.strictSame(
    wrongImports((from, to) => crossing(from, to) && to.endsWith('/routes.ts')),
    [],
  )
  // An answer that two features give has one schema, which stands with the feature that makes it.
  t.strictSame(
    wrongImports((from, to) => crossing(from, to) && to.endsWith('/schemas.ts')).filter(
      (it) => !/→ features\/(sessions|login)\/schemas\.ts$/.test(it),
    ),
    [],
  )

  const uses = new Map<string, Set<string>>()
  for (const { path, imports } of sources) {
    const own = featureOf(path)
    if (own === undefined) continue
    const others = imports
      .map(({ to }) => featureOf(to))
      .filter((other) => other !== undefined && other !== own) as string[]
    uses.set(own, new Set([...(uses.get(own) ?? []), ...others]))
  }
  const reaches = (from: string, target: string, seen = new Set<string>()): boolean =>
    [...(uses.get(from) ?? [])].some(
      (next) => next === target || (!seen.has(next) && reaches(next, target, seen.add(next))),
    )
  t.ok(uses.size >= 6)
  t.strictSame(
    [...uses.keys()].filter((feature) => reaches(feature, feature)),
    [],
    'no circle',
  )
  t.strictSame(
    wrongImports(
      (from, to) =>
        !within('features')(from) && !within('http')(from) && from !== 'app.ts' && to.endsWith('/routes.ts'),
    ),
    [],
  )
})

t.test('only services.ts, and what starts or operates the service, names an adapter', async (t) => {
  const adapters = [
    'sms/twilio.ts',
    'sms/console.ts',
    'sms/none.ts',
    'mail/smtp.ts',
    'mail/console.ts',
    'store/client.ts',
    'store/embedded.ts',
  ]
  const mayName = (from: string): boolean => from === 'services.ts' || from.startsWith('cli')
  t.strictSame(
    wrongImports(
      (from, to, isType) => adapters.includes(to) && !isType && !mayName(from) && dirname(from) !== dirname(to),
    ),
    [],
  )
  const chosen = sources.find(({ path }) => path === 'services.ts')?.imports ?? []
  t.ok(
    chosen.some(({ to }) => to === 'sms/twilio.ts'),
    'and services.ts does',
  )
  const libraries = (name: string, folder: string): string[] =>
    sources.filter(({ path, text }) => !within(folder)(path) && new RegExp(`from '${name}`).test(text)).map(pathOf)
  t.strictSame(libraries("(@prisma/|pg'|@electric-sql)", 'store'), [], 'Prisma and pg stay in store/')
  t.strictSame(libraries("twilio['/]", 'sms'), [], 'twilio stays in sms/')
  t.strictSame(libraries("nodemailer['/]", 'mail'), [], 'nodemailer stays in mail/')
  t.strictSame(libraries('@fastify/(?!type-provider)', 'http'), [], 'plugins stay in http/')
})

t.test('time and chance come in through system.ts', async (t) => {
  const banned = /Math\.random|Date\.now|new Date\(\)|performance\.now|randomBytes|randomUUID|randomInt|process\.hrtime/
  const code = (text: string): string => text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
  const found = sources.filter(({ path, text }) => path !== 'system.ts' && banned.test(code(text))).map(pathOf)
  // The id of a row in Prisma's own table; the clock of whoever uses the client.
  t.strictSame(
    found.filter((path) => path !== 'store/migrate.ts' && path !== 'client/clock.ts'),
    [],
  )
  t.match(sources.find(({ path }) => path === 'system.ts')?.text, banned, 'the pattern finds what it is for')
})

t.test('the client stands alone: nothing of the service, no package, no browser outside of passkeys.ts', async (t) => {
  const client = sources.filter(({ path }) => within('client')(path) && !within('client/page')(path))
  t.ok(client.length > 10)
  t.strictSame(
    wrongImports((from, to) => within('client')(from) !== within('client')(to)),
    [],
  )
  t.strictSame(client.filter(({ text }) => /(from|import\() ?'[^.]/.test(text)).map(pathOf), [])
  const browser = /\b(document|window|localStorage|sessionStorage|credentials)\b(\.|\?\.|\[|\()/
  const code = (text: string): string => text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
  t.strictSame(client.filter(({ text }) => browser.test(code(text))).map(pathOf), ['client/passkeys.ts'])
})

t.test('files are short, and there is one class, and one of the client', async (t) => {
  // All texts of a language stand in one file.
  const isWords = ({ path }: { path: string }): boolean => /^(mail|client\/page)\/words\/[a-z]{2}\.ts$/.test(path)
  const written = sources.filter(({ path }) => path !== 'client/api.ts')
  const long = written.filter((it) => it.text.split('\n').length > 210 && !isWords(it)).map(pathOf)
  t.strictSame(long, [])
  const average = written.reduce((sum, { text }) => sum + text.split('\n').length, 0) / written.length
  t.ok(average < 80, `${Math.round(average)} lines on average`)
  t.strictSame(
    sources
      .filter(({ text }) => /^(export )?class /m.test(text))
      .map(pathOf)
      .sort(),
    ['client/errors.ts', 'errors.ts'],
  )
})

/** The functions under src of more than `max` lines, signature and all. */
function functionsOver(t: Test, max: number): string[] {
  const rules = { 'max-lines-per-function': ['error', { max }] }
  const config = { categories: { correctness: 'off' }, ignorePatterns: ['**/store/prisma/**'], rules }
  const path = join(t.testdir({ 'oxlint.json': JSON.stringify(config) }), 'oxlint.json')
  const command = fileURLToPath(new URL('../node_modules/.bin/oxlint', import.meta.url))
  // Without what tap puts into every Node that is started here: from 24 on oxlint does not start with it.
  const words = ['-u', 'NODE_OPTIONS', command, '--config', path, '--format', 'json', root]
  const { stdout } = spawnSync('env', words, { encoding: 'utf8' })
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: { filename: string; message: string }[] }
  return diagnostics.map(({ filename, message }) => `${relative(root, resolve(filename))}: ${message}`)
}

t.test('no function is longer than a screen', async (t) => {
  t.strictSame(functionsOver(t, 60), [])
  t.ok(functionsOver(t, 30).length > 10, 'the rule finds what it is for')
})
