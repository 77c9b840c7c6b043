import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { explainProblem } from './explain-problem.ts'
import { pageOf, pagePolicy, prefersPage } from './page.ts'
import { ProblemPageSchema, ProblemParams } from './schemas.ts'

/** What `type` of a problem document points at. */
export function problemRoutes(app: App, services: Services): void {
  explainProblemRoute(app, services)
}

function explainProblemRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'readProblem',
    tags: ['problems'],
    summary: 'What a problem code means',
    description:
      'Explains one problem code: why a client meets it, what to do about it, and what it looks like. A browser gets it as a page.',
    params: ProblemParams,
    response: { 200: ProblemPageSchema },
  }
  app.get(
    '/problems/:code',
    { config: { access: 'public', limits: ['default'], problems: ['not_found'] }, schema },
    async (request, reply) => {
      const problem = explainProblem(services, request.params.code)
      if (prefersPage(request.headers.accept)) {
        reply.type('text/html; charset=utf-8').header('Content-Security-Policy', pagePolicy).serializer(pageOf)
      }
      return problem
    },
  )
}
