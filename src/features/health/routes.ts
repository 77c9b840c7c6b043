import type { App } from '../app-type.ts'
import { createReadiness, type ReadinessParts } from './readiness.ts'
import { LiveSchema, NotReadySchema, ReadySchema } from './schemas.ts'

/** For load balancers and orchestrators: words only, nothing internal (SEC-89). */
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
      'Database reachable and migrated, and not shutting down. The state of the SMS provider and of the budget of the day are told ' +
      'but do not make it unready: logins without a text go on.',
    response: { 200: ReadySchema, 503: NotReadySchema },
  }
  app.get(
    '/health/ready',
    { config: { access: 'public', limits: ['default'], problems: [] }, schema },
    async (_request, reply) => {
      const state = await readiness()
      reply.code(state.status === 'ready' ? 200 : 503)
      return state
    },
  )
}
