import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { sessionOf } from '../request.ts'
import { readMe } from './read-me.ts'
import { MeSchema } from './schemas.ts'

/** What a signed-in user may see of the account. */
export function accountRoutes(app: App, services: Services): void {
  readMeRoute(app, services)
}

function readMeRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'readMe',
    tags: ['account'],
    summary: 'The signed-in user',
    description: 'The account and how this session was authenticated.',
    response: { 200: MeSchema },
  }
  app.get('/me', { config: { access: 'access', limits: ['default'], problems: [] }, schema }, async (request) =>
    readMe(services, sessionOf(request)),
  )
}
