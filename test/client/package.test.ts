import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import t from 'tap'

// What an application gets that installs the client: small, typed, and nothing else with it.

t.setTimeout(300_000)

const repository = fileURLToPath(new URL('../../', import.meta.url))
const compiler = join(repository, 'node_modules/typescript/bin/tsc')

/** Past what tap puts into every Node that is started here. */
const node = (words: string[], cwd = repository) =>
  promisify(execFile)('env', ['-u', 'NODE_OPTIONS', process.execPath, ...words], { cwd })

t.test('the types are those of openapi.yaml', async () => {
  await node(['.ci/client-types.mjs', '--check'])
})

t.test('the whole of it is at most 5 KB, compressed, and a page takes only what it uses', async (t) => {
  const bundled = async (contents: string): Promise<number> => {
    const stdin = { contents, resolveDir: join(repository, 'src/client') }
    const { outputFiles } = await build({ stdin, bundle: true, minify: true, format: 'esm', write: false })
    return gzipSync(outputFiles[0]?.contents ?? '').length
  }
  const whole = await bundled("export * from './index.ts'")
  t.ok(whole > 1_000 && whole <= 5_000, `${whole} bytes`)
  const passkeys = await bundled("export { passkeyProof } from './index.ts'")
  t.ok(passkeys < 1_000, `${passkeys} bytes`)
})

/** As an application uses it; each `never` fails to compile as soon as an answer is not told apart. */
const application = `
import { createDoorstep, DoorstepError, hasPasskeys, memoryStorage, passkeyProof, webStorage } from 'doorstep/client'
import type { Challenge, Doorstep, ErrorCode, LoginAnswer, Method, ProblemCode, TokenStorage } from 'doorstep/client'

const storage: TokenStorage = typeof localStorage === 'object' ? webStorage(localStorage) : memoryStorage()
export const doorstep: Doorstep = createDoorstep({
  baseUrl: 'https://login.example.com',
  storage,
  origins: ['https://api.example.com'],
  fetch,
  onStepUp: async ({ acrValues, maxAge }) => {
    const wanted: [string | undefined, number | undefined] = [acrValues, maxAge]
    const answer = await doorstep.stepUp()
    return answer.status === 'authenticated' && wanted[0] === 'aal2'
  },
})

function title(challenge: Challenge): string {
  switch (challenge.method) {
    case 'sms':
    case 'email':
      return challenge.destination
    case 'totp':
      return challenge.setup?.qr ?? ''
    case 'passkey':
      return challenge.public_key?.rpId ?? ''
    case 'recovery_code':
      return String(challenge.attempts_remaining)
    default: {
      const nothing: never = challenge
      return nothing
    }
  }
}

export async function next(answer: LoginAnswer): Promise<Method[] | string> {
  switch (answer.status) {
    case 'authenticated':
      return answer.return_to ?? '/'
    case '2fa_required':
      if (answer.challenge.method === 'passkey' && hasPasskeys()) {
        const done = await doorstep.finish(answer, await passkeyProof(answer.challenge))
        return done.status
      }
      return title(answer.challenge)
    case '2fa_enrolment_required':
      return answer.methods
    default: {
      const nothing: never = answer
      return nothing
    }
  }
}

export async function explain(work: Promise<unknown>): Promise<[ErrorCode, number | undefined]> {
  try {
    await work
    throw new Error('it worked')
  } catch (error) {
    if (!(error instanceof DoorstepError)) throw error
    const known: ProblemCode | 'network' | 'signed_out' | 'storage' = error.code
    return [known, error.retryAfter]
  }
}

export const orders = (): Promise<Response> => doorstep.authorizedFetch('https://api.example.com/orders')
// @ts-expect-error: there is no such method.
export const wrong = () => doorstep.switchMethod({ pending_token: '' }, 'pigeon')
// @ts-expect-error: the client adds the device token by itself.
export const own = () => doorstep.signIn({ email: '', password: '', device_token: '' })
`

const strictest = {
  ...{ target: 'es2022', lib: ['es2022', 'dom'], types: [], outDir: 'built', skipLibCheck: false, strict: true },
  ...{ noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, noPropertyAccessFromIndexSignature: true },
  ...{ noImplicitReturns: true, noImplicitOverride: true, noFallthroughCasesInSwitch: true, noUnusedLocals: true },
  ...{ noUnusedParameters: true, verbatimModuleSyntax: true, isolatedModules: true },
}

t.test('the packed client comes without the service, compiles in the strictest mode, and runs', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'doorstep-consumer-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const dist = join(folder, 'dist')
  // As `npm run build` does.
  await node([compiler, '-p', 'tsconfig.build.json', '--outDir', dist])
  await node([compiler, '-p', 'src/client', '--outDir', join(dist, 'client')])
  const { stdout } = await node(['.ci/pack-client.mjs', dist, folder])
  const installed = join(folder, 'node_modules/doorstep')
  mkdirSync(installed, { recursive: true })
  execFileSync('tar', ['-xzf', join(folder, stdout.trim()), '-C', installed, '--strip-components=1'])
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
  t.equal(manifest.name, 'doorstep')
  t.notOk(manifest.dependencies, 'no other package comes with it')
  t.notOk(existsSync(join(installed, 'dist/main.js')), 'nor does the service')
  t.notOk(existsSync(join(installed, 'dist/client/page')))
  const packed = readdirSync(join(installed, 'dist/client'))
  t.strictSame(
    packed.filter((name) => !/\.(js|d\.ts)$/.test(name)),
    [],
  )
  t.notMatch(
    readFileSync(join(installed, 'dist/client/index.js'), 'utf8'),
    /sourceMappingURL/,
    'nor maps to no sources',
  )

  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(folder, 'application.ts'), application)
  for (const [module, moduleResolution] of [
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ]) {
    const compilerOptions = { ...strictest, module, moduleResolution }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['application.ts'] }))
    await node([compiler, '-p', folder]).catch(({ stdout }: { stdout: string }) => t.fail(`${module}: ${stdout}`))
  }
  const { explain, doorstep, orders } = await import(pathToFileURL(join(folder, 'built/application.js')).href)
  t.same(await explain(doorstep.me()), ['signed_out', undefined])
  t.same(await explain(orders()), ['signed_out', undefined])

  writeFileSync(join(folder, 'older.cjs'), `console.log(typeof require('doorstep/client').createDoorstep)`)
  t.equal((await node(['older.cjs'], folder)).stdout, 'function\n', 'CommonJS can require it')
})

t.test('`npm run build` makes what package.json promises', async (t) => {
  const { exports, files, scripts } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'))
  t.same(exports['./client'], { types: './dist/client/index.d.ts', default: './dist/client/index.js' })
  t.ok(files.includes('dist/client'))
  t.ok(scripts.build.includes('tsc -p tsconfig.build.json && tsc -p src/client && '))
})
