import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'

// What an attacker gains from an old or swapped package: the hole that its next version closed (SEC-100).

type Dependencies = Record<string, string>
type Locked = {
  version: string
  integrity?: string
  resolved?: string
  hasInstallScript?: boolean
  dev?: boolean
  link?: boolean
}
type Manifest = { dependencies: Dependencies; devDependencies: Dependencies; allowScripts: Record<string, boolean> }

const read = (path: string) => JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8'))
const manifest: Manifest = read('package.json')
const locked = Object.entries<Locked>(read('package-lock.json').packages).filter(([path]) => path !== '')

const nameOf = (path: string): string => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
const versionsOf = (name: string): string[] =>
  locked.filter(([path]) => nameOf(path) === name).map(([, { version }]) => version)
const installed = (name: string): string => read(`node_modules/${name}/package.json`).version

/** Negative when `a` is older than `b`, 0 when they are the same. A pre-release is older than its release. */
function compare(a: string, b: string): number {
  const [core = '', prerelease] = a.split('-', 2)
  const [numbers, others] = [core, b].map((it) => it.split('.').map(Number)) as [number[], number[]]
  const at = numbers.findIndex((number, index) => number !== others[index])
  return at >= 0 ? (numbers[at] ?? 0) - (others[at] ?? 0) : prerelease === undefined ? 0 : -1
}

t.test('versions compare as numbers', async (t) => {
  t.ok(compare('5.12.8', '5.8.3') > 0)
  t.ok(compare('5.8.2', '5.8.3') < 0)
  t.ok(compare('6.3.2-rc.1', '6.3.2') < 0)
  t.equal(compare('6.3.2', '6.3.2'), 0)
})

t.test('an attacker finds no version with a known hole in it', async (t) => {
  // CVE-2026-3635 (host and protocol from any peer); CVE-2026-34950 and its kin (algorithm confusion).
  const floors = { fastify: '5.8.3', 'fast-jwt': '6.3.2' }
  for (const [name, floor] of Object.entries(floors)) {
    const versions = [...versionsOf(name), installed(name)]
    t.ok(versions.length >= 2, `${name} is there`)
    for (const version of versions) t.ok(compare(version, floor) >= 0, `${name} ${version} is at least ${floor}`)
  }
})

t.test('argon2 is the one release whose binaries were tried', async (t) => {
  t.equal(manifest.dependencies.argon2, '0.44.0')
  t.same([...versionsOf('argon2'), installed('argon2')], ['0.44.0', '0.44.0'])
})

t.test(
  'bcrypt is the release that was tried, with a binary for every machine that the image is built for',
  async (t) => {
    t.same([...versionsOf('bcrypt'), installed('bcrypt')], ['6.0.0', '6.0.0'])
    for (const machine of ['linux-x64', 'linux-arm64', 'darwin-arm64', 'win32-x64']) {
      t.ok(existsSync(new URL(`../../node_modules/bcrypt/prebuilds/${machine}`, import.meta.url)), machine)
    }
  },
)

t.test('an attacker who takes over a package reaches nobody before the lock file changes', async (t) => {
  const exact = /^\d+\.\d+\.\d+(-[\w.]+)?$/
  for (const [name, version] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
    t.match(version, exact, `${name} is asked for by its exact version`)
    t.equal(installed(name), version, `${name} is installed as it is asked for`)
  }
  const unproven = locked.filter(([, { integrity, link }]) => !link && !/^sha512-/.test(integrity ?? ''))
  t.same(unproven, [], 'every package is locked by its hash')
  t.same(
    locked.filter(([, { resolved }]) => resolved !== undefined),
    [],
    'and comes from the registry that npm is set to',
  )
})

t.test('a package runs nothing at its installation that nobody has looked at', async (t) => {
  const scripted = [...new Set(locked.filter(([, it]) => it.hasInstallScript).map(([path]) => nameOf(path)))]
  const unjudged = scripted.filter((name) => typeof manifest.allowScripts[name] !== 'boolean')
  t.same(unjudged, [], 'allowScripts says yes or no to each of them')
  const allowed = Object.keys(manifest.allowScripts).filter((name) => manifest.allowScripts[name])
  t.same(allowed, ['argon2'], 'argon2 alone may: it is built where it brings no binary')
})
