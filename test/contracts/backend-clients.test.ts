import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { makeBackend } from '../helpers/clients.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { createOwner, sessionOf } from '../helpers/equipped.ts'
import { mailedToken, mailsTo } from '../helpers/links.ts'
import { call } from '../helpers/story.ts'

// A backend team has the OpenAPI document and a key, and nothing else of ours: not a path, not a method, not a name of a field is in
// these two programs that they do not look up there by operation id, and refuse to go on without.

t.setTimeout(300_000)

const doorstep = await startDoorstep(t)
const base = await doorstep.app.listen({ port: 0, host: '127.0.0.1' })
const folder = mkdtempSync(join(tmpdir(), 'doorstep-backend-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const inNode = `
const [base, id, secret, email, victim] = process.argv.slice(2)
const document = await (await fetch(base + '/openapi.json')).json()
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, ...operation })))
const resolve = (schema) => schema.$ref ? document.components.schemas[schema.$ref.split('/').at(-1)] : schema
async function call(operationId, { params = {}, body } = {}) {
  const operation = operations.find((it) => it.operationId === operationId)
  if (!operation) throw new Error('no such operation: ' + operationId)
  if (document.components.securitySchemes[Object.keys(operation.security[0])[0]].scheme !== 'basic') throw new Error('not with basic')
  const known = resolve(operation.requestBody?.content['application/json'].schema ?? {}).properties ?? {}
  for (const name of Object.keys(body ?? {})) if (!(name in known)) throw new Error('not in the document: ' + name)
  const path = operation.path.replace(/\\{(\\w+)\\}/g, (_, name) => encodeURIComponent(params[name]))
  const reply = await fetch(base + path, {
    method: operation.method.toUpperCase(),
    headers: { authorization: 'Basic ' + Buffer.from(id + ':' + secret).toString('base64'), ...(body && { 'content-type': 'application/json' }) },
    ...(body && { body: JSON.stringify(body) }),
  })
  const said = operation.responses[reply.status]
  if (!said) throw new Error(operationId + ' answers ' + reply.status + ', which the document does not know')
  if (reply.status === 204) return { status: 204, body: null }
  const answer = await reply.json()
  const type = reply.headers.get('content-type').split(';')[0]
  const schema = resolve(said.content[type].schema)
  for (const name of schema.required ?? []) if (!(name in answer)) throw new Error(operationId + ' lacks ' + name)
  return { status: reply.status, body: answer }
}
const seen = []
const note = ({ status, body }) => { seen.push(body?.code ? status + ' ' + body.code : String(status)); return body }
const user = note(await call('createUser', { body: { email, external_id: 'node-1', locale: 'en' } }))
const again = note(await call('createUser', { body: { email } }))
const found = note(await call('searchUsers', { body: { external_id: 'node-1' } }))
if (again.user_id !== user.id || found.users[0].id !== user.id) throw new Error('another user')
const whole = note(await call('readUser', { params: { id: victim } }))
note(await call('unlockUser', { params: { id: victim }, body: { all: true } }))
note(await call('endUserSession', { params: { id: victim, part: whole.sessions[0].id } }))
note(await call('removeUserFactors', { params: { id: victim } }))
note(await call('resetUserPassword', { params: { id: victim }, body: { force: true } }))
note(await call('changeUser', { params: { id: user.id }, body: { disabled: true } }))
note(await call('eraseUser', { params: { id: user.id } }))
note(await call('readUser', { params: { id: user.id } }))
console.log(JSON.stringify({ id: user.id, seen }))
`

const inPython = `
import base64, json, re, sys, urllib.error, urllib.parse, urllib.request
base, client, secret, email, victim = sys.argv[1:]
document = json.load(urllib.request.urlopen(base + '/openapi.json'))
operations = {operation['operationId']: dict(operation, path=path, method=method)
              for path, methods in document['paths'].items() for method, operation in methods.items()}

def resolve(schema):
    return document['components']['schemas'][schema['$ref'].split('/')[-1]] if '$ref' in schema else schema

def call(name, params={}, body=None):
    operation = operations[name]
    scheme = document['components']['securitySchemes'][next(iter(operation['security'][0]))]
    assert scheme['scheme'] == 'basic', scheme
    if body is not None:
        known = resolve(operation['requestBody']['content']['application/json']['schema'])['properties']
        assert set(body) <= set(known), (name, body)
    path = re.sub(r'\\{(\\w+)\\}', lambda it: urllib.parse.quote(params[it.group(1)]), operation['path'])
    headers = {'Authorization': 'Basic ' + base64.b64encode((client + ':' + secret).encode()).decode()}
    if body is not None:
        headers['Content-Type'] = 'application/json'
    request = urllib.request.Request(base + path, method=operation['method'].upper(), headers=headers,
                                     data=None if body is None else json.dumps(body).encode())
    try:
        reply = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        reply = error
    said = operation['responses'][str(reply.status)]
    if reply.status == 204:
        return 204, None
    answer = json.load(reply)
    schema = resolve(said['content'][reply.headers['Content-Type'].split(';')[0]]['schema'])
    assert set(schema.get('required', [])) <= set(answer), (name, answer)
    return reply.status, answer

seen = []
def note(result):
    status, body = result
    seen.append(f"{status} {body['code']}" if body and 'code' in body else str(status))
    return body

user = note(call('createUser', body={'email': email, 'external_id': 'python-1', 'locale': 'en'}))
again = note(call('createUser', body={'email': email}))
found = note(call('searchUsers', body={'external_id': 'python-1'}))
assert again['user_id'] == user['id'] == found['users'][0]['id']
whole = note(call('readUser', {'id': victim}))
note(call('unlockUser', {'id': victim}, {'all': True}))
note(call('endUserSession', {'id': victim, 'part': whole['sessions'][0]['id']}))
note(call('removeUserFactors', {'id': victim}))
note(call('resetUserPassword', {'id': victim}, {'force': True}))
note(call('changeUser', {'id': user['id']}, {'disabled': True}))
note(call('eraseUser', {'id': user['id']}))
note(call('readUser', {'id': user['id']}))
print(json.dumps({'id': user['id'], 'seen': seen}))
`

for (const [language, { file, program, command }] of Object.entries({
  Node: { file: 'backend.mjs', program: inNode, command: process.execPath },
  Python: { file: 'backend.py', program: inPython, command: 'python3' },
})) {
  t.test(
    `a backend in ${language}, with the document and a key alone: create, find, help, disable, erase`,
    async (t) => {
      const { id, secret } = await makeBackend(doorstep, {
        scopes: ['users:read', 'users:write', 'users:security', 'users:delete'],
      })
      const victim = await createOwner(doorstep)
      const { access } = await sessionOf(doorstep, victim)
      const path = join(folder, file)
      writeFileSync(path, program)
      const email = `made-in-${language.toLowerCase()}@example.net`
      const { stdout } = await promisify(execFile)(command, [path, base, id, secret, email, victim.id], {
        env: { PATH: process.env.PATH },
      })
      const told = JSON.parse(stdout)
      t.same(told.seen, [
        '201',
        '409 conflict',
        '200',
        '200',
        '204',
        '204',
        '204',
        '202',
        '200',
        '204',
        '404 not_found',
      ])
      t.same(await doorstep.sql('SELECT FROM users WHERE id = $1 OR email = $2', [told.id, email]), [], 'erased')
      t.same(await mailsTo(doorstep, email), [], 'nor is anything mailed any more')
      t.equal((await call(doorstep, '/me', { token: access })).status, 401)
      const token = await mailedToken(doorstep, victim.email)
      const helped = await call(doorstep, '/password/set', { body: { token, password: 'a sentence that is new' } })
      t.match(
        helped,
        { status: 200, body: { status: '2fa_enrolment_required' } },
        'and the user who needed help gets in',
      )
    },
  )
}
