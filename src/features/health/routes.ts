import type { App } from '../app-type.ts'
import { createReadiness, type ReadinessParts } from './readiness.ts'
import { LiveSchema, NotReadySchema, ReadySchema } from './schemas.ts'

/** For load balancers and orchestrators: yes or no, nothing internal (SEC-89). */
export function healthRoutes(app: App, parts: ReadinessParts): void {
  readLivenessRoute(app)
  readReadinessRoute(app, parts)
}

function readLivenessRoute(app: App): void {
  const schema = {
    operationId: 'readLiveness',
    tags: ['health'],
    summary: 'Whether the process answers',
    description: 'Looks at nothing else: restart the process when this fails.',
    response: { 200: LiveSchema },
  }
  app.get('/health/live', { config: { access: 'public', limits: ['default'], problems: [] }, schema }, async () => ({
    status: 'ok' as const,
  }))
}

function readReadinessRoute(app: App, parts: ReadinessParts): void {
  const readiness = createReadiness(parts)
  const schema = {
    operationId: 'readReadiness',
    tags: ['health'],
    summary: 'Whether logins can be served',
    description:
      'Database reachable, writable and migrated, and not shutting down. What is wrong is told at `/health` on METRICS_PORT; so is the ' +
      'state of the SMS provider and of the budget of texts, which does not make it unready: logins without a text go on.',
    response: { 200: ReadySchema, 503: NotReadySchema },
  }
  app.get(
    '/health/ready',
    { config: { access: 'public', limits: ['default'], problems: [] }, schema },
    async (_request, reply) => {
      const { status } = await readiness()
      reply.code(status === 'ready' ? 200 : 503)
      return { status }
    },
  )
}
