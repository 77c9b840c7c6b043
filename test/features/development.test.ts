import t from 'tap'
import { loadConfig } from '../../src/config.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { registeredRoutes } from '../helpers/registered-routes.ts'
import { call, codeFor, createUser, login } from '../helpers/story.ts'

t.setTimeout(300_000)
const doorstep = await startDoorstep(t)

t.test('the texts of the console sender, newest first, so that a newcomer can read the code', async (t) => {
  const [ada, bob] = [await createUser(doorstep), await createUser(doorstep)]
  await login(doorstep, ada)
  await login(doorstep, bob)
  const { status, body, headers } = await call(doorstep, '/dev/sms')
  t.equal(status, 200)
  t.equal(headers['cache-control'], 'no-store')
  t.match(body.messages.slice(0, 2), [{ to: bob.phone }, { to: ada.phone }])
  const [newest] = body.messages
  t.strictSame(Object.keys(newest), ['to', 'body', 'sent_at'])
  t.match(newest.body, new RegExp(`\\n@localhost #${codeFor(doorstep, bob.phone)}$`))
  t.match(newest.sent_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
})

t.test('only the newest hundred are kept', async (t) => {
  for (let count = 0; count < 105; count += 1) {
    await doorstep.services.sms.send({ id: count, to: '+12025550100', body: `text ${count}`, validForSeconds: 1 })
  }
  const { body } = await call(doorstep, '/dev/sms')
  t.equal(body.messages.length, 100)
  t.equal(body.messages[0].body, 'text 104')
})

t.test('with a real provider there are no texts to read, and production has no other', async (t) => {
  const twilio = {
    SMS_PROVIDER: 'twilio',
    TWILIO_ACCOUNT_SID: `AC${'0'.repeat(32)}`,
    TWILIO_AUTH_TOKEN: 'not-a-real-token',
    TWILIO_FROM: '+15005550006',
    TWILIO_API_BASE_URL: 'http://127.0.0.1:1',
  }
  const real = await startDoorstep(t, { database: doorstep.database, env: twilio })
  t.match(await call(real, '/dev/sms'), { status: 404, body: { code: 'not_found' } })
  t.notOk(registeredRoutes(real.app).some(({ url }) => url === '/dev/sms'))
  t.throws(() => loadConfig({ NODE_ENV: 'production', SMS_PROVIDER: 'console' }), { message: /SMS_PROVIDER/ })
})

t.test(
  'the page: its own files and nothing else, under a policy that lets no script in from outside or inline',
  async (t) => {
    const { app } = doorstep
    const pages = ['/', '/set-password', '/confirm-email', '/not-me'].map((url) => [url, 'text/html; charset=utf-8'])
    const files = { 'page.css': 'text/css', 'page.js': 'text/javascript', 'logo.svg': 'image/svg+xml' }
    const all = [...pages, ...Object.entries(files).map(([name, type]) => [`/page/${name}`, `${type}; charset=utf-8`])]
    for (const [url = '', type] of all) {
      const { statusCode, headers } = await app.inject(url)
      t.match({ statusCode, type: headers['content-type'] }, { statusCode: 200, type }, url)
      t.match(headers['cache-control'], 'no-store')
      const policy = String(headers['content-security-policy'])
      t.match(policy, /^default-src 'none';script-src 'self';style-src 'self';img-src 'self' data:;connect-src 'self';/)
      t.notMatch(policy, /unsafe|https?:|\*/)
    }
    const { body: html } = await app.inject('/')
    const named = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path as string)
    t.strictSame([...new Set(named)].sort(), ['./', 'page/logo.svg', 'page/page.css', 'page/page.js'])
    t.notMatch(html, /<style|style=|<script>|\son\w+=/, 'nothing inline')
    t.equal((await app.inject('/page/page.ts')).statusCode, 404)
    const { body: module } = await app.inject('/page/page.js')
    t.notMatch(module, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(/, 'no markup is made of text')
    t.notMatch(module, /^import /m, 'one module')
  },
)
