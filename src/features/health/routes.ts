import Type from 'typebox'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { createReadiness } from './readiness.ts'

const LiveSchema = Type.Object({ status: Type.Literal('ok') })
const state = {
  database: Type.Enum(['ok', 'not_migrated', 'unreachable']),
  sms: Type.Enum(['ok', 'unavailable']),
  sms_budget: Type.Enum(['ok', 'low', 'exhausted', 'unknown']),
}
const ReadySchema = Type.Object({ status: Type.Literal('ready'), ...state })
const NotReadySchema = Type.Object({ status: Type.Literal('not_ready'), ...state })

/** For load balancers and orchestrators: words only, nothing internal (SEC-89). */
export function healthRoutes(
  app: App,
  services: Pick<Services, 'store' | 'sms' | 'clock' | 'config'> & { isDraining: () => boolean },
): void {
  const readiness = createReadiness(services)

  app.get(
    '/health/live',
    {
      config: { access: 'public', limits: ['default'], problems: [] },
      schema: {
        operationId: 'readLiveness',
        tags: ['health'],
        summary: 'Whether the process answers',
        description: 'Looks at nothing else: restart the process when this fails.',
        response: { 200: LiveSchema },
      },
    },
    async () => ({ status: 'ok' as const }),
  )

  app.get(
    '/health/ready',
    {
      config: { access: 'public', limits: ['default'], problems: [] },
      schema: {
        operationId: 'readReadiness',
        tags: ['health'],
        summary: 'Whether logins can be served',
        description:
          'Database reachable and migrated, and not shutting down. The state of the SMS provider and of the budget of the day are told ' +
          'but do not make it unready: logins without a text go on.',
        response: { 200: ReadySchema, 503: NotReadySchema },
      },
    },
    async (_request, reply) => {
      const state = await readiness()
      reply.code(state.status === 'ready' ? 200 : 503)
      return state
    },
  )
}
