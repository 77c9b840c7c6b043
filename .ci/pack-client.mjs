// Packs the built client alone, as a package without dependencies: dist/doorstep-<version>.tgz. An application installs that
// file, and gets nothing of the service.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const [built = 'dist', target = built] = process.argv.slice(2)
const { name, version, license, type, sideEffects, exports, files } = JSON.parse(readFileSync('package.json', 'utf8'))
const description = 'The typed client of Doorstep, a self-hosted login service.'
const manifest = { name, version, description, license, type, sideEffects, exports, files }

const folder = mkdtempSync(join(tmpdir(), 'doorstep-client-'))
try {
  // Maps would lead to sources that are not in it.
  const filter = (path) => !path.endsWith('.map')
  cpSync(join(built, 'client'), join(folder, 'dist', 'client'), { recursive: true, filter })
  cpSync('LICENSE', join(folder, 'LICENSE'))
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest, null, 2))
  execFileSync('npm', ['pack', '--silent', '--pack-destination', target, folder], { stdio: 'inherit' })
} finally {
  rmSync(folder, { recursive: true, force: true })
}
