import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const repository = fileURLToPath(new URL('../../', import.meta.url))

/**
 * Compiles the service as `npm run build` does, but into a folder of its own, beside the same packages and migrations, so
 * that what is tried is this source and nothing that lay about. Removed when `t` ends. Returns the folder with `dist/`.
 */
export function buildService(t: { teardown(work: () => unknown): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'doorstep-build-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  for (const name of ['node_modules', 'prisma']) symlinkSync(join(repository, name), join(folder, name))
  const tsc = join(repository, 'node_modules', '.bin', 'tsc')
  // Without what tap puts into every Node process below it: the compiler's launcher does not load with that.
  const clean = ['-u', 'NODE_OPTIONS', tsc]
  execFileSync(
    'env',
    [...clean, '-p', join(repository, 'tsconfig.build.json'), '--noCheck', '--outDir', join(folder, 'dist')],
    {
      cwd: repository,
      stdio: 'inherit',
    },
  )
  const page = ['run', '-s', 'build:page', '--', `--outdir=${join(folder, 'dist', 'client', 'page')}`]
  execFileSync('env', ['-u', 'NODE_OPTIONS', 'npm', ...page], { cwd: repository, stdio: 'inherit' })
  return folder
}
