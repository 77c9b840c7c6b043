import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { type PublicSurface, publicSurface } from './helpers/public-surface.ts'

// What somebody who has built on a release loses when the next one takes something away: README says what stays in 1.x.

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')

const folder = new URL('frozen/', import.meta.url)
const releases = readdirSync(folder).sort()
const now = await publicSurface()

const missing = (before: readonly string[], after: readonly string[] = []): string[] =>
  before.filter((it) => !after.includes(it))

t.test('package, document, image and change log name one version', async (t) => {
  const { version } = JSON.parse(read('package.json')) as { version: string }
  t.match(version, /^1\.\d+\.\d+$/)
  t.equal(JSON.parse(read('package-lock.json')).packages[''].version, version, 'the lock file')
  t.equal(parse(read('openapi.yaml')).info.version, version, 'openapi.yaml')
  const [, label] = /org\.opencontainers\.image\.version="([^"]+)"/.exec(read('Dockerfile')) ?? []
  t.equal(label, version, 'Dockerfile')
  const [, newest] = /^## (\S+)/m.exec(read('CHANGELOG.md')) ?? []
  t.equal(newest, version, 'CHANGELOG.md')
  t.ok(releases.includes(`${version.replace(/\.\d+$/, '')}.json`), 'what this release has is written down')
})

for (const file of releases) {
  const frozen: PublicSurface = JSON.parse(readFileSync(new URL(file, folder), 'utf8'))
  const release = file.replace('.json', '')

  t.test(`somebody who integrated with ${release} finds every call, with all that it took and answered`, async (t) => {
    t.ok(Object.keys(frozen.calls).length > 35)
    for (const [name, before] of Object.entries(frozen.calls)) {
      const after = now.calls[name]
      if (!after) {
        t.fail(`${name} is gone`)
        continue
      }
      t.strictSame(missing(before.security, after.security), [], `${name}: the credentials that it takes`)
      t.strictSame(missing(before.takes, after.takes), [], `${name}: the fields and parameters that it takes`)
      t.strictSame(missing(after.needs, before.needs), [], `${name}: it asks for nothing more`)
      for (const [status, names] of Object.entries(before.answers)) {
        const present = after.answers[status] ?? []
        t.strictSame(missing(names, present), [], `${name} ${status}: what it answers`)
        const steps = (all: string[]) => all.filter((it) => it.startsWith('status='))
        t.strictSame(missing(steps(present), names), [], `${name} ${status}: no new way to go on`)
      }
    }
  })

  t.test(`no problem, method, credential, setting or command of ${release} is gone`, async (t) => {
    t.match(now.problems, frozen.problems, 'codes, and the status of each')
    for (const kind of ['methods', 'securitySchemes', 'settings', 'commands'] as const) {
      t.ok(frozen[kind].length > 2, kind)
      t.strictSame(missing(frozen[kind], now[kind]), [], kind)
    }
  })
}
