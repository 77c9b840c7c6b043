// `npm test`: compiles src/ and test/ once, into .build, and has tap run what came of it. Arguments go on to tap; a test
// file may be named as it is in test/ or as in .build. Types are not checked here: `npm run check` does.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const top = fileURLToPath(new URL('..', import.meta.url))
const output = join(top, '.build')

/** Runs a program of node_modules, and leaves with its exit code if that is not 0. */
function run(program, words) {
  const { status, signal } = spawnSync(process.execPath, [join(top, 'node_modules', program), ...words], {
    cwd: top,
    stdio: 'inherit',
  })
  if (status !== 0) process.exit(status ?? (signal === 'SIGINT' ? 130 : 1))
}

/**
 * A module finds its files (migrations, openapi.yaml, sources to be read) from where it lies: in the compiled one that
 * stays the place of the .ts file.
 */
function keepPlaces() {
  for (const name of readdirSync(output, { recursive: true })) {
    if (!name.endsWith('.js')) continue
    const path = join(output, name)
    const code = readFileSync(path, 'utf8')
    if (!code.includes('import.meta.url')) continue
    const source = pathToFileURL(join(top, name.replace(/\.js$/, '.ts'))).href
    writeFileSync(path, code.replaceAll('import.meta.url', JSON.stringify(source)))
  }
}

rmSync(output, { recursive: true, force: true })
run('typescript/bin/tsc', ['-p', 'tsconfig.test.json'])
keepPlaces()
const compiled = (word) => {
  const path = relative(top, join(process.cwd(), word))
  return /^test\b.*\.test\.ts$/.test(path) ? join('.build', path.replace(/\.ts$/, '.js')) : word
}
const preload = pathToFileURL(join(output, 'test/helpers/no-module-hooks.js')).href
const nodeOptions = `--import=${preload} ${process.env.NODE_OPTIONS ?? ''}`
run('tap/dist/esm/run.mjs', [`--test-env=NODE_OPTIONS=${nodeOptions.trim()}`, ...process.argv.slice(2).map(compiled)])
