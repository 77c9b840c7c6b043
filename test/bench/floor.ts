import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import pg from 'pg'

/**
 * `/floor`: the least that a second step could be: Fastify, one prepared UPDATE … RETURNING, a JWT verified (HS256) and
 * one signed (ES256) by the library that Doorstep uses. `/floor/statement`: the same without the JWTs.
 * No counting, no session, no audit, no log: no login service, a measure.
 */
const { DATABASE_URL, PENDING_KEY = '', PRIVATE_PEM = '', PUBLIC_PEM = '' } = process.env

const app = Fastify({ logger: false })
await app.register(jwt, { namespace: 'pending', secret: PENDING_KEY, verify: { algorithms: ['HS256'] } })
await app.register(jwt, {
  namespace: 'access',
  secret: { private: PRIVATE_PEM, public: PUBLIC_PEM },
  sign: { algorithm: 'ES256', expiresIn: '600s' },
})
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 10 })
pool.on('error', () => {})

const schema = {
  body: { type: 'object', properties: { code: { type: 'string' } }, required: ['code'], additionalProperties: false },
  response: { 200: { type: 'object', properties: { access_token: { type: 'string' }, uses: { type: 'integer' } } } },
}

async function use(id: string): Promise<number | undefined> {
  const { rows } = await pool.query<{ uses: number }>({
    name: 'use',
    text: 'UPDATE bench_floor SET uses = uses + 1 WHERE id = $1 RETURNING uses',
    values: [id],
  })
  return rows[0]?.uses
}

app.post('/floor', { schema }, async (request) => {
  const verify = request as typeof request & { pendingJwtVerify(): Promise<{ sub: string }> }
  const { sub } = await verify.pendingJwtVerify()
  const uses = await use(String(sub))
  return { access_token: app.jwt.access.sign({ sub, scope: 'account' }), uses }
})

app.post('/floor/statement', { schema }, async ({ body }) => ({ uses: await use((body as { code: string }).code) }))

const address = await app.listen({ host: '127.0.0.1', port: 0 })
process.stdout.write(`${JSON.stringify({ address, msg: 'listening' })}\n`)
process.on('SIGTERM', () => void app.close().then(() => pool.end()))
