import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import pg from 'pg'

/**
 * The least that a second step could be: Fastify, one prepared UPDATE … RETURNING, a JWT verified (HS256) and one
 * signed (ES256) by the library that Doorstep uses. No counting, no session, no audit, no log: no login service, a measure.
 */
const { DATABASE_URL, PENDING_KEY = '', PRIVATE_PEM = '', PUBLIC_PEM = '' } = process.env

const app = Fastify({ logger: false })
await app.register(jwt, { namespace: 'pending', secret: PENDING_KEY, verify: { algorithms: ['HS256'] } })
await app.register(jwt, {
  namespace: 'access',
  secret: { private: PRIVATE_PEM, public: PUBLIC_PEM },
  sign: { algorithm: 'ES256', expiresIn: '600s' },
})
const signers = app.jwt as unknown as Record<'access', typeof app.jwt>
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 10 })
pool.on('error', () => {})

app.post(
  '/floor',
  {
    schema: {
      body: {
        type: 'object',
        properties: { code: { type: 'string' } },
        required: ['code'],
        additionalProperties: false,
      },
      response: {
        200: { type: 'object', properties: { access_token: { type: 'string' }, uses: { type: 'integer' } } },
      },
    },
  },
  async (request) => {
    const verify = request as typeof request & { pendingJwtVerify(): Promise<{ sub: string }> }
    const { sub } = await verify.pendingJwtVerify()
    const { rows } = await pool.query<{ uses: number }>({
      name: 'use',
      text: 'UPDATE bench_floor SET uses = uses + 1 WHERE id = $1 RETURNING uses',
      values: [sub],
    })
    return { access_token: signers.access.sign({ sub, scope: 'account' }), uses: rows[0]?.uses }
  },
)

const address = await app.listen({ host: '127.0.0.1', port: 0 })
process.stdout.write(`${JSON.stringify({ address, msg: 'listening' })}\n`)
process.on('SIGTERM', () => void app.close().then(() => pool.end()))
