import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import openapiTypescript from 'openapi-typescript'
import t from 'tap'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createBareUser, enrolSms, enrolTotp, mailedCode, proveMailbox, totpCode } from '../helpers/factors.ts'
import { codeFor, type TestUser } from '../helpers/story.ts'

// What a team that knows nothing but the OpenAPI document makes of it: types, a client of them that says in every place
// which answer it has, and a compiler that lets nothing pass. Where the document is wrong, this does not compile or does not run.

t.setTimeout(180_000)

/** As such a team would write it. Each `never` fails to compile as soon as an answer is not told apart. */
const source = `
import createClient from 'openapi-fetch'
import type { components, paths } from './schema.d.ts'

type Challenge = components['schemas']['TwoFactorRequired']['challenge']
type Session = components['schemas']['Authenticated']
export type Person = {
  textTo: (destination: string) => string
  mailTo: (destination: string) => string
  app: (secret: string | undefined) => string
}

const bearer = (token: string) => ({ authorization: \`Bearer \${token}\` })

/** What a person types for a challenge. */
function ask(challenge: Challenge, person: Person): string {
  switch (challenge.method) {
    case 'sms':
      return person.textTo(challenge.destination)
    case 'email':
      return person.mailTo(challenge.destination)
    case 'totp':
      return person.app(challenge.setup?.secret)
    case 'passkey':
      throw new Error(\`no passkey for \${challenge.public_key?.rpId ?? challenge.setup?.public_key.rp.id}\`)
    case 'recovery_code':
      throw new Error(\`no recovery code, \${challenge.attempts_remaining} left\`)
    default: {
      const nothing: never = challenge
      return nothing
    }
  }
}

export function createPerson(baseUrl: string, person: Person) {
  const api = createClient<paths>({ baseUrl })

  async function finish(token: string, challenge: Challenge) {
    const { data, error } = await api.POST('/login/2fa', {
      headers: bearer(token),
      body: { code: ask(challenge, person), device_name: 'A client' },
    })
    if (error !== undefined) throw new Error(error.code, { cause: error })
    return data
  }

  /** Sets up an authenticator app, with the token of an enrolment or of a session. */
  async function enrol(token: string): Promise<Session> {
    const { data, error } = await api.POST('/factors', { headers: bearer(token), body: { method: 'totp', name: 'App' } })
    if (error !== undefined) throw new Error(error.code)
    if (data.status === 'recovery_codes') throw new Error(\`\${data.recovery_codes.length} codes\`)
    const answer = await finish(data.pending_token, data.challenge)
    if (answer.status !== 'authenticated') throw new Error(answer.methods.join())
    return answer
  }

  /** Signs in, by \`method\` where the login could go on with it. */
  async function signIn(email: string, password: string, method?: 'sms' | 'totp'): Promise<Session> {
    const { data, error } = await api.POST('/login', { body: { email, password } })
    if (error !== undefined) throw new Error(error.code)
    switch (data.status) {
      case 'authenticated':
        return data
      case '2fa_enrolment_required':
        return enrol(data.pending_token)
      case '2fa_required': {
        let { challenge } = data
        if (method !== undefined && method !== challenge.method && data.methods.includes(method)) {
          const headers = bearer(data.pending_token)
          const switched = await api.POST('/login/2fa/method', { headers, body: { method } })
          if (switched.error !== undefined) throw new Error(switched.error.code)
          if (switched.data.challenge === null) throw new Error('it waits for an enrolment')
          challenge = switched.data.challenge
        }
        const answer = await finish(data.pending_token, challenge)
        return answer.status === 'authenticated' ? answer : enrol(answer.pending_token)
      }
      default: {
        const nothing: never = data
        return nothing
      }
    }
  }

  /** A fresh proof for a session: by its password where that is all there is. */
  async function stepUp(session: Session, password: string): Promise<Session['status'] | '2fa_required'> {
    const { data, error } = await api.POST('/login/step-up', { headers: bearer(session.access_token), body: { password } })
    if (error !== undefined) throw new Error(error.code)
    return data.status
  }

  async function factors(session: Session) {
    const { data, error } = await api.GET('/factors', { headers: bearer(session.access_token) })
    if (error !== undefined) throw new Error(error.code)
    const [first] = data.factors
    if (first === undefined) throw new Error('none')
    const renamed = await api.PATCH('/factors/{id}', {
      params: { path: { id: first.id } },
      headers: bearer(session.access_token),
      body: { name: 'Anew' },
    })
    return { methods: data.factors.map((it) => it.method), name: renamed.data?.name, handle: data.passkey.user_handle }
  }

  /** What a wrong answer comes back with. */
  async function fail(email: string, password: string): Promise<{ code: string; left: number | undefined }> {
    const { data } = await api.POST('/login', { body: { email, password } })
    if (data?.status !== '2fa_required') throw new Error(data?.status)
    const { error } = await api.POST('/login/2fa', { headers: bearer(data.pending_token), body: { code: '000000' } })
    if (error?.code !== 'invalid_code') throw new Error(error?.code)
    return { code: error.code, left: error.attempts_remaining }
  }

  return { signIn, stepUp, factors, fail }
}
`

/** Every switch of the compiler that finds more. */
const strictest = {
  ...{ target: 'es2023', module: 'nodenext', lib: ['es2023', 'dom'], types: [], outDir: 'built' },
  ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true, skipLibCheck: false },
  ...{ noPropertyAccessFromIndexSignature: true, noImplicitReturns: true, noImplicitOverride: true },
  ...{ noFallthroughCasesInSwitch: true, noUnusedLocals: true, noUnusedParameters: true, verbatimModuleSyntax: true },
  ...{ allowImportingTsExtensions: true, rewriteRelativeImportExtensions: true },
}

type Session = { status: string; access_token: string; recovery_codes?: string[] }
type Client = {
  signIn(email: string, password: string, method?: 'sms' | 'totp'): Promise<Session>
  stepUp(session: Session, password: string): Promise<string>
  factors(session: Session): Promise<{ methods: string[]; name: string | null; handle: string }>
  fail(email: string, password: string): Promise<{ code: string; left: number }>
}
type CreatePerson = (baseUrl: string, person: Record<'textTo' | 'mailTo' | 'app', (it: string) => string>) => Client

// In the project, where packages are found as a user's own are.
const folder = mkdtempSync(fileURLToPath(new URL('../../node_modules/.foreign-', import.meta.url)))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const compiler = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url))

/** Past what tap puts into every Node that is started here: from 24 on the compiler does not start with it. */
const compile = () => promisify(execFile)('env', ['-u', 'NODE_OPTIONS', process.execPath, compiler, '-p', folder])

async function compiled(): Promise<CreatePerson> {
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text)
  write('schema.d.ts', await openapiTypescript(new URL('../../openapi.yaml', import.meta.url)))
  write('client.ts', source)
  write('package.json', JSON.stringify({ type: 'module' }))
  write('tsconfig.json', JSON.stringify({ compilerOptions: strictest, files: ['client.ts'] }))
  await compile().catch(({ stdout }: { stdout: string }) => {
    throw new Error(stdout)
  })
  return (await import(pathToFileURL(join(folder, 'built', 'client.js')).href)).createPerson
}

t.test('a client of the generated types compiles in the strictest mode, and walks through a login', async (t) => {
  const createPerson = await compiled()
  const doorstep = await startDoorstep(t)
  await doorstep.app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = doorstep.app.server.address() as AddressInfo
  const shown: string[] = []
  const clientOf = ({ email }: TestUser, { phone = '', secret = '' } = {}): Client =>
    createPerson(`http://127.0.0.1:${port}`, {
      textTo: (destination) => {
        shown.push(destination)
        return codeFor(doorstep, phone)
      },
      mailTo: () => mailedCode(doorstep, email),
      app: (setUp) => totpCode(setUp ?? secret),
    })

  const newcomer = await createBareUser(doorstep)
  const first = await clientOf(newcomer).signIn(newcomer.email, newcomer.password)
  t.match(first, { status: 'authenticated', recovery_codes: { length: 10 } }, 'a first login, to the first factor')
  t.match(await clientOf(newcomer).factors(first), {
    methods: ['totp', 'recovery_code'],
    name: 'Anew',
    handle: /^[\w-]{43}$/,
  })

  const ada = await createBareUser(doorstep)
  const { answer } = await enrolTotp(doorstep, (await proveMailbox(doorstep, ada)).body.pending_token)
  const { phone } = await enrolSms(doorstep, answer.body.access_token)
  const client = clientOf(ada, { phone })
  t.match(await client.signIn(ada.email, ada.password, 'sms'), { status: 'authenticated' }, 'by another method')
  t.match(shown, [`+1 •••••••• ${phone.slice(-2)}`])
  t.same(await client.fail(ada.email, ada.password), { code: 'invalid_code', left: 4 })

  const bare = await createBareUser(doorstep, 'optional')
  const session = await clientOf(bare).signIn(bare.email, bare.password)
  t.equal(await clientOf(bare).stepUp(session, bare.password), 'authenticated')
  await t.rejects(clientOf(bare).stepUp(session, 'wrong'), { message: 'invalid_password' })
})

t.test('an answer that is not told apart does not compile', async (t) => {
  await compiled()
  const careless = source.replace("case '2fa_enrolment_required':\n        return enrol(data.pending_token)\n", '')
  writeFileSync(join(folder, 'client.ts'), careless)
  const said = await compile().catch((error) => error)
  t.match(said.stdout, /error TS2322: Type '.*' is not assignable to type 'never'/s)
})
