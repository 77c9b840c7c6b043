import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { buildApp } from '../src/app.ts'
import { startDoorstep } from './helpers/doorstep.ts'
import { freePort } from './helpers/service-process.ts'
import { createUser, type TestUser } from './helpers/story.ts'

// What README tells a backend team to copy, run as they would: against a service whose clock is ahead of theirs.

t.setTimeout(400_000)
const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
const issuer = `http://127.0.0.1:${await freePort()}`

/** The code between two marks, for the service of this test. */
function example(name: string): string {
  const [, code = ''] =
    new RegExp(`<!-- ${name} -->\n\`\`\`\\w+\n([\\s\\S]*?)\`\`\`\n<!-- /${name} -->`).exec(readme) ?? []
  if (!code.includes('http://localhost:3000')) throw new Error(`README has no example in ${name}`)
  return code.replaceAll('http://localhost:3000', issuer)
}

// In the project, where `jose` is found as a user's own packages are.
const folder = mkdtempSync(fileURLToPath(new URL('../node_modules/.readme-', import.meta.url)))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const doorstep = await startDoorstep(t, { env: { PUBLIC_URL: issuer } })
let aheadMs = 0
const clock = { nowMs: () => doorstep.services.clock.nowMs() + aheadMs }
const app = await buildApp({ ...doorstep.services, clock })
t.teardown(() => app.close())
await app.listen({ host: '127.0.0.1', port: Number(new URL(issuer).port) })
const user = await createUser(doorstep, { twoFactor: 'off' })

/** A token of a service whose clock is `seconds` ahead. */
async function tokenFrom(seconds: number, { email, password }: TestUser = user): Promise<string> {
  aheadMs = seconds * 1_000
  const reply = await app.inject({ method: 'POST', url: '/login', payload: { email, password } })
  return reply.json().access_token
}

type Verify = (token: string) => Promise<{ id: string; strong: boolean }>

async function tryOut(t: Test, userOf: Verify): Promise<void> {
  for (const seconds of [0, 1, 20, 28, -605]) {
    t.same(await userOf(await tokenFrom(seconds)), { id: user.id, strong: false }, `a clock that is ${seconds} s ahead`)
  }
  const good = await tokenFrom(20)
  const [header, payload, signature] = good.split('.')
  const claims = { ...JSON.parse(Buffer.from(`${payload}`, 'base64url').toString()), acr: 'aal2' }
  const raised = [header, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.')
  const unsigned = [Buffer.from('{"alg":"none"}').toString('base64url'), payload, ''].join('.')
  for (const token of [raised, unsigned, await tokenFrom(-700), 'x']) await t.rejects(userOf(token), token.slice(0, 20))
}

const run = promisify(execFile)

/** A Python that has PyJWT and what it needs for ES256 (Debian: python3-jwt, python3-cryptography); .ci/run sees to one. */
async function findPython(): Promise<string | undefined> {
  for (const python of ['python3', '/usr/bin/python3']) {
    const found = await run(python, ['-c', 'import jwt, cryptography']).then(
      () => true,
      () => false,
    )
    if (found) return python
  }
  return undefined
}

const python = await findPython()

/** Whether this can be run here. */
const isThere = (program: string, words: string[]): Promise<boolean> =>
  run(program, words).then(
    () => true,
    () => false,
  )

const gson = '/usr/share/java/gson.jar'
const goCode = '/usr/share/gocode'
const hasGo = (await isThere('go', ['version'])) && existsSync(`${goCode}/src/gopkg.in/square/go-jose.v2`)
const hasJava = (await isThere('javac', ['-version'])) && existsSync(gson)

// .ci/run installs them. C# is written by its library's documentation: Debian has no .NET.
const missing = [
  ...(python === undefined ? ['Python: python3-jwt python3-cryptography'] : []),
  ...(hasGo ? [] : ['Go: golang-go golang-gopkg-square-go-jose.v2-dev']),
  ...(hasJava ? [] : ['Java: default-jdk-headless libgoogle-gson-java']),
]
for (const packages of missing)
  t.comment(`An example of README was not tried. To try it install Debian's packages for ${packages}`)

/** What stands behind the example: prints the user of the token that it is given. */
const goMain = `
func main() {
	id, strong, err := userOf(os.Args[1])
	if err != nil {
		panic(err)
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{"id": id, "strong": strong})
}
`
const javaMain = `
class Main {
    public static void main(String[] words) throws Exception {
        var claims = new Users().userOf(words[0]);
        Map<String, Object> told = Map.of("id", text(claims, "sub"), "strong", text(claims, "acr").equals("aal2"));
        System.out.println(new Gson().toJson(told));
    }

    static String text(JsonObject from, String name) {
        return from.get(name).getAsString();
    }
}
`

t.test('Node', async (t) => {
  const file = join(folder, 'verify.mjs')
  writeFileSync(file, example('node'))
  const { userOf } = await import(pathToFileURL(file).href)
  await tryOut(t, userOf)
})

if (python !== undefined) {
  t.test('Python', async (t) => {
    const file = join(folder, 'verify.py')
    const call =
      'import json, sys\nid, strong = user_of(sys.argv[1])\nprint(json.dumps({"id": id, "strong": strong}))\n'
    writeFileSync(file, `${example('python')}\n${call}`)
    await tryOut(t, async (token) => JSON.parse((await run(python, [file, token])).stdout))
  })
}

// Debian 12 has the second version of this library: another path, the algorithms told apart by the key alone, another name.
const inDebian = (code: string): string =>
  [
    ['github.com/go-jose/go-jose/v4', 'gopkg.in/square/go-jose.v2'],
    ['(token, []jose.SignatureAlgorithm{jose.ES256})', '(token)'],
    ['AnyAudience:', 'Audience:'],
  ].reduce((text, [from = '', to = '']) => {
    if (!text.includes(from)) throw new Error(`README's Go does not say ${from}`)
    return text.replaceAll(from, to)
  }, code)

if (hasGo) {
  t.test('Go', async (t) => {
    const source = join(folder, 'go')
    mkdirSync(source)
    const code = inDebian(example('go')).replace('import (', 'package main\n\nimport (\n\t"os"')
    writeFileSync(join(source, 'users.go'), `${code}${goMain}`)
    const env = { ...process.env, GO111MODULE: 'off', GOPATH: goCode, GOCACHE: join(folder, 'go-cache'), GOFLAGS: '' }
    const program = join(source, 'verify')
    await run('go', ['build', '-o', program, '.'], { cwd: source, env })
    await tryOut(t, async (token) => JSON.parse((await run(program, [token])).stdout))
  })
}

if (hasJava) {
  t.test('Java', async (t) => {
    const source = join(folder, 'java')
    mkdirSync(source)
    writeFileSync(join(source, 'Users.java'), `${example('java')}${javaMain}`)
    await run('javac', ['-cp', gson, '-d', source, join(source, 'Users.java')])
    const words = ['-XX:TieredStopAtLevel=1', '-cp', `${gson}:${source}`, 'Main']
    await tryOut(t, async (token) => JSON.parse((await run('java', [...words, token])).stdout))
  })
}
