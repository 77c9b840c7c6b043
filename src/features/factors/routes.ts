import Type from 'typebox'
import type { ProblemCode } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { callerOf, challengeOf, sessionOf } from '../request.ts'
import { enrol } from './enrol.ts'
import { traits } from './index.ts'
import { listFactors } from './list-factors.ts'
import { removeFactor } from './remove-factor.ts'
import { renameFactor } from './rename-factor.ts'
import { EnrolAnswerSchema, EnrolBody, FactorListSchema, FactorParams, FactorSchema, RenameBody } from './schemas.ts'
import { sendProblems } from './send-problems.ts'

/** What a user can prove more than a password with. */
export function factorRoutes(app: App, services: Services): void {
  listFactorsRoute(app, services)
  enrolRoute(app, services)
  renameFactorRoute(app, services)
  removeFactorRoute(app, services)
}

function listFactorsRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'listFactors',
    tags: ['factors'],
    summary: 'What the user has, and what can be set up',
    description: 'The second factors of the signed-in user, the oldest first, without anything secret.',
    response: { 200: FactorListSchema },
  }
  app.get('/factors', { config: { access: 'access', limits: ['default'], problems: [] }, schema }, async (request) =>
    listFactors(services, sessionOf(request)),
  )
}

function enrolRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'enrolFactor',
    tags: ['factors'],
    summary: 'Set up a second factor',
    description:
      'Begins an enrolment: `challenge.setup` is what the new factor needs, and its first proof at `POST /login/2fa` makes it ' +
      'count; one of the same method is replaced then (passkeys: added). Called with the token of `2fa_enrolment_required`, or ' +
      'by a session that is fresh. A session of an account without a factor first gets a code by mail, whose proof answers ' +
      '`2fa_enrolment_required`. `recovery_code`: ten new codes at once; the old ones are dead.',
    body: EnrolBody,
    response: { 200: EnrolAnswerSchema },
  }
  const problems: ProblemCode[] = [
    'insufficient_user_authentication',
    'second_factor_locked',
    'conflict',
    ...sendProblems,
  ]
  app.post(
    '/factors',
    {
      bodyLimit: 4_096,
      config: {
        access: ['pending', 'access'],
        purposes: ['must_enrol'],
        assurance: 'fresh',
        limits: ['default'],
        // What is set up, or the proof of the mailbox that comes before it.
        challenges: ({ method, setup }) => setup !== undefined || traits[method].sends !== null,
        problems,
      },
      schema,
    },
    async (request) => {
      const enrolment = { ...request.body, caller: callerOf(request) }
      const enroller =
        request.auth.kind === 'pending' ? { pending: challengeOf(request) } : { session: sessionOf(request) }
      return enrol(services, enroller, enrolment)
    },
  )
}

function renameFactorRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'renameFactor',
    tags: ['factors'],
    summary: 'Name a factor anew',
    description: 'How its owner will know it again.',
    params: FactorParams,
    body: RenameBody,
    response: { 200: FactorSchema },
  }
  app.patch(
    '/factors/:id',
    { bodyLimit: 4_096, config: { access: 'access', limits: ['default'], problems: ['not_found'] }, schema },
    async (request) =>
      renameFactor(services, {
        session: sessionOf(request),
        factorId: request.params.id,
        name: request.body.name,
      }),
  )
}

function removeFactorRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'removeFactor',
    tags: ['factors'],
    summary: 'Remove a factor',
    description:
      'Wants a fresh session, which stays; the others end, and so does the trust in devices. The last of passkey, totp and sms ' +
      'takes the recovery codes along.',
    params: FactorParams,
    response: { 204: Type.Null({ description: 'Removed.' }) },
  }
  app.delete(
    '/factors/:id',
    {
      config: {
        access: 'access',
        assurance: 'fresh',
        limits: ['default'],
        problems: ['invalid_request', 'insufficient_user_authentication', 'not_found', 'last_factor'],
      },
      schema,
    },
    async (request, reply) => {
      const { id: factorId } = request.params
      await removeFactor(services, { session: sessionOf(request), factorId, caller: callerOf(request) })
      reply.code(204)
      return null
    },
  )
}
