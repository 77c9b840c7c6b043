import Type from 'typebox'
import type { Services } from '../../../services.ts'
import { forgetAccount } from '../../accounts/forget-account.ts'
import type { App } from '../../app-type.ts'
import { callOf, userCallOf } from './call.ts'
import { changeUser } from './change-user.ts'
import { createUser } from './create-user.ts'
import { readUser } from './read-user.ts'
import { ChangeBody, CreateBody, FoundSchema, SearchBody, UserParams, UserRef, WholeUserSchema } from './schemas.ts'
import { searchUsers } from './search-users.ts'

const client = { access: 'client' as const }

/** Users as backends find, make, change and erase them. */
export function userRoutes(app: App, services: Services): void {
  searchUsersRoute(app, services)
  createUserRoute(app, services)
  readUserRoute(app, services)
  changeUserRoute(app, services)
  eraseUserRoute(app, services)
}

function searchUsersRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'searchUsers',
    tags: ['admin'],
    summary: 'Find users',
    description:
      'Those that match all filters, the newest first, page by page: users who are made or erased meanwhile shift nothing. In the ' +
      'body, so that nothing personal is in an address.',
    body: SearchBody,
    response: { 200: FoundSchema },
  }
  app.post(
    '/admin/users/search',
    { config: { ...client, scope: 'users:read', problems: [] }, schema },
    async (request) => searchUsers(services, request.body, callOf(request)),
  )
}

function createUserRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'createUser',
    tags: ['admin'],
    summary: 'Make a user',
    description:
      'Without a password: `invite` mails a link, good for seven days, by which the user sets one. Safe to repeat: a user who is there ' +
      'already, by e-mail or external id, is a `conflict` whose `user_id` names the user.',
    body: CreateBody,
    response: { 201: UserRef },
  }
  const config = {
    ...client,
    scope: 'users:write' as const,
    problems: ['conflict' as const, 'phone_not_allowed' as const],
  }
  app.post('/admin/users', { config, schema }, async (request, reply) => {
    reply.code(201)
    return createUser(services, request.body, callOf(request))
  })
}

function readUserRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'readUser',
    tags: ['admin'],
    summary: 'A user, whole',
    description: 'With factors, sessions, devices, and until when something is locked.',
    params: UserParams,
    response: { 200: WholeUserSchema },
  }
  const config = { ...client, scope: 'users:read' as const, problems: ['not_found' as const] }
  app.get('/admin/users/:id', { config, schema }, async (request) => readUser(services, userCallOf(request)))
}

function changeUserRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'changeUser',
    tags: ['admin'],
    summary: 'Change a user',
    description:
      'What is absent stays as it is. `email`, `two_factor` and `disabled` want the scope `users:security` as well; they end sessions, ' +
      'the trust in devices and logins under way; `email` and `disabled` end links too. A new e-mail is not confirmed, and the old one is ' +
      'told. What is so already is no change.',
    params: UserParams,
    body: ChangeBody,
    response: { 200: UserRef },
  }
  const config = { ...client, scope: 'users:write' as const, problems: ['not_found' as const, 'conflict' as const] }
  app.patch('/admin/users/:id', { config, schema }, async (request) =>
    changeUser(services, request.body, userCallOf(request)),
  )
}

function eraseUserRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'eraseUser',
    tags: ['admin'],
    summary: 'Erase a user',
    description: 'At once, and for good: of events only time and type are kept.',
    params: UserParams,
    response: { 204: Type.Null({ description: 'Erased.' }) },
  }
  const config = { ...client, scope: 'users:delete' as const, problems: ['not_found' as const] }
  app.delete('/admin/users/:id', { config, schema }, async (request, reply) => {
    await forgetAccount(services, userCallOf(request))
    reply.code(204)
    return null
  })
}
