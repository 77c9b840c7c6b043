import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import openapiTypescript from 'openapi-typescript'
import { generate } from 'openapi-typescript-codegen'
import t from 'tap'
import { listen } from '../helpers/client.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createBareUser, enrolSms, enrolTotp, mailedCode, proveMailbox, totpCode } from '../helpers/factors.ts'
import { codeFor, type TestUser } from '../helpers/story.ts'

// What a team that knows nothing but the OpenAPI document makes of it: types, a client of them that says in every place
// which answer it has, and a compiler that lets nothing pass. Where the document is wrong, this does not compile or does not run.

t.setTimeout(300_000)

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

/** The same of another generator: a class for each tag, a function for each call. */
const generatedSource = `
import { AccountService, ApiError, FactorsService, LoginService, OpenAPI, SessionsService } from './generated'
import type { Authenticated, EnrolmentRequired, Problem, TwoFactorRequired } from './generated'
import type { Person } from './client.ts'

type Challenge = TwoFactorRequired['challenge']

function ask(challenge: Challenge, person: Person): string {
  switch (challenge.method) {
    case 'sms':
      return person.textTo(challenge.destination)
    case 'email':
      return person.mailTo(challenge.destination)
    case 'totp':
      return person.app(challenge.setup?.secret)
    case 'passkey':
      throw new Error(challenge.public_key?.rpId ?? challenge.setup?.public_key.rp.id)
    case 'recovery_code':
      throw new Error(\`\${challenge.attempts_remaining} left\`)
    default: {
      const nothing: never = challenge
      return nothing
    }
  }
}

export function createPerson(baseUrl: string, person: Person) {
  OpenAPI.BASE = baseUrl

  async function finish({ pending_token, challenge }: TwoFactorRequired): Promise<Authenticated | EnrolmentRequired> {
    OpenAPI.TOKEN = pending_token
    return LoginService.finishLogin({ requestBody: { code: ask(challenge, person), device_name: 'A client' } })
  }

  async function enrol({ pending_token }: EnrolmentRequired): Promise<Authenticated> {
    OpenAPI.TOKEN = pending_token
    const begun = await FactorsService.enrolFactor({ requestBody: { method: 'totp', name: 'App' } })
    if (begun.status === 'recovery_codes') throw new Error(begun.recovery_codes.join())
    const answer = await finish(begun)
    if (answer.status !== 'authenticated') throw new Error(answer.methods.join())
    return answer
  }

  async function signIn(email: string, password: string): Promise<Authenticated> {
    OpenAPI.TOKEN = undefined
    const answer = await LoginService.startLogin({ requestBody: { email, password } })
    switch (answer.status) {
      case 'authenticated':
        return answer
      case '2fa_enrolment_required':
        return enrol(answer)
      case '2fa_required': {
        const finished = await finish(answer)
        return finished.status === 'authenticated' ? finished : enrol(finished)
      }
      default: {
        const nothing: never = answer
        return nothing
      }
    }
  }

  /** What a signed-in person does: looks, renames a factor, has new tokens, and leaves. */
  async function stay({ access_token, refresh_token }: Authenticated) {
    OpenAPI.TOKEN = access_token
    const [me, { factors }] = [await AccountService.readMe(), await FactorsService.listFactors()]
    const renamed = await FactorsService.renameFactor({ id: factors[0]?.id ?? '', requestBody: { name: 'Anew' } })
    const { access_token: next } = await SessionsService.refreshSession({ requestBody: { refresh_token } })
    OpenAPI.TOKEN = next
    await SessionsService.logout({ requestBody: { scope: 'local' } })
    return { email: me.email, methods: factors.map((it) => it.method), name: renamed.name }
  }

  async function fail(email: string, password: string): Promise<{ code: Problem['code']; status: number }> {
    OpenAPI.TOKEN = undefined
    try {
      await LoginService.startLogin({ requestBody: { email, password } })
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      const { code }: Problem = error.body
      return { code, status: error.status }
    }
    throw new Error('it did not fail')
  }

  return { signIn, stay, fail }
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
type Person = Record<'textTo' | 'mailTo' | 'app', (it: string) => string>
type CreatePerson = (baseUrl: string, person: Person) => Client
type Generated = Pick<Client, 'signIn'> & {
  stay(session: Session): Promise<{ email: string; methods: string[]; name: string | null }>
  fail(email: string, password: string): Promise<{ code: string; status: number }>
}

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

const doorstep = await startDoorstep(t)
const baseUrl = await listen(doorstep)

t.test('a client of the generated types compiles in the strictest mode, and walks through a login', async (t) => {
  const createPerson = await compiled()
  const shown: string[] = []
  const clientOf = ({ email }: TestUser, { phone = '', secret = '' } = {}): Client =>
    createPerson(baseUrl, {
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

/** The files of another generator, compiled with a client of them, and made one: they name no file as Node wants it. */
async function generated(): Promise<(baseUrl: string, person: Person) => Generated> {
  const input = fileURLToPath(new URL('../../openapi.yaml', import.meta.url))
  const output = join(folder, 'generated')
  await generate({ input, output, httpClient: 'fetch', useOptions: true, useUnionTypes: true })
  writeFileSync(join(folder, 'client.ts'), source)
  writeFileSync(join(folder, 'second.ts'), generatedSource)
  const compilerOptions = { ...strictest, module: 'esnext', moduleResolution: 'bundler', rootDir: '.' }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['second.ts', 'generated'] }))
  await compile().catch(({ stdout }: { stdout: string }) => {
    throw new Error(stdout)
  })
  const outfile = join(folder, 'built', 'second.mjs')
  await build({ entryPoints: [join(folder, 'built', 'second.js')], outfile, bundle: true, format: 'esm' })
  return (await import(pathToFileURL(outfile).href)).createPerson
}

t.test('so does a client that another generator has written whole', async (t) => {
  const createPerson = await generated()
  const user = await createBareUser(doorstep)
  const person = createPerson(baseUrl, {
    textTo: () => '',
    mailTo: () => mailedCode(doorstep, user.email),
    app: (secret) => totpCode(secret),
  })
  const session = await person.signIn(user.email, user.password)
  t.match(session, { status: 'authenticated', recovery_codes: { length: 10 } })
  const methods = ['totp', 'recovery_code']
  t.match(await person.stay(session), { email: user.email, methods, name: 'Anew' })
  const over = await person.stay(session).catch((error: unknown) => error)
  t.match(over, { status: 401, body: { code: 'invalid_token' } }, 'it has left')
  t.same(await person.fail(user.email, 'no'), { code: 'invalid_credentials', status: 401 })
})
