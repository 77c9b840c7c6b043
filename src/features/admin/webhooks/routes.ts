import Type from 'typebox'
import type { Services } from '../../../services.ts'
import type { App } from '../../app-type.ts'
import { callerOf } from '../../request.ts'
import type { Hourly } from '../hourly.ts'
import { changeWebhook, deleteWebhook } from './change-webhook.ts'
import { createWebhook } from './create-webhook.ts'
import { listWebhooks } from './list-webhooks.ts'
import { redeliver } from './redeliver.ts'
import { rotateSecret } from './rotate-secret.ts'
import {
  NewWebhookRef,
  RedeliverBody,
  RedeliverySchema,
  WebhookBody,
  WebhookChangeBody,
  WebhookListSchema,
  WebhookParams,
  WebhookRef,
} from './schemas.ts'

const client = { access: 'client' as const, scope: 'webhooks:write' as const }
const ofOne = { ...client, problems: ['not_found' as const] }

/** The endpoints that hear of changes (Standard Webhooks 1.0.0). */
export function webhookRoutes(app: App, services: Services, hourly: Hourly): void {
  listWebhooksRoute(app, services, hourly)
  createWebhookRoute(app, services)
  changeWebhookRoute(app, services)
  deleteWebhookRoute(app, services)
  rotateSecretRoute(app, services)
  redeliverRoute(app, services)
}

function listWebhooksRoute(app: App, services: Services, hourly: Hourly): void {
  const schema = {
    operationId: 'listWebhooks',
    tags: ['admin'],
    summary: 'All webhooks',
    description: 'The oldest first, with how it goes with each.',
    response: { 200: WebhookListSchema },
  }
  app.get('/admin/webhooks', { config: { ...client, problems: [] }, schema }, async (request) =>
    listWebhooks(services, { caller: callerOf(request), hourly }),
  )
}

function createWebhookRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'createWebhook',
    tags: ['admin'],
    summary: 'Be told of changes',
    description:
      'Each event is posted as Standard Webhooks 1.0.0 has it: `{ type, timestamp, data }` with ids and words, signed with the `secret`, at ' +
      'least once, in no promised order. At most ten endpoints. Names are looked up at each try, and addresses of private networks refused.',
    body: WebhookBody,
    response: { 201: NewWebhookRef },
  }
  const config = { ...client, problems: ['conflict' as const] }
  app.post('/admin/webhooks', { config, schema }, async (request, reply) => {
    reply.code(201)
    return createWebhook(services, request.body, callerOf(request))
  })
}

function changeWebhookRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'changeWebhook',
    tags: ['admin'],
    summary: 'Change, disable or enable a webhook',
    description: 'What is absent stays as it is.',
    params: WebhookParams,
    body: WebhookChangeBody,
    response: { 200: WebhookRef },
  }
  app.patch('/admin/webhooks/:id', { config: ofOne, schema }, async (request) =>
    changeWebhook(services, request.params.id, { change: request.body, caller: callerOf(request) }),
  )
}

function deleteWebhookRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'deleteWebhook',
    tags: ['admin'],
    summary: 'Take a webhook away',
    description: 'With all that it was still to hear of.',
    params: WebhookParams,
    response: { 204: Type.Null({ description: 'Deleted.' }) },
  }
  const config = { ...client, problems: ['invalid_request' as const, 'not_found' as const] }
  app.delete('/admin/webhooks/:id', { config, schema }, async (request, reply) => {
    await deleteWebhook(services, request.params.id, callerOf(request))
    reply.code(204)
    return null
  })
}

function rotateSecretRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'rotateWebhookSecret',
    tags: ['admin'],
    summary: 'A new secret for a webhook',
    description:
      'Shown this once. The one before signs beside it for 24 hours; asked for again, it takes none away from you.',
    params: WebhookParams,
    body: Type.Object({}, { additionalProperties: false, examples: [{}] }),
    response: { 200: NewWebhookRef },
  }
  app.post('/admin/webhooks/:id/rotate-secret', { config: ofOne, schema }, async (request) =>
    rotateSecret(services, request.params.id, callerOf(request)),
  )
}

function redeliverRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'redeliverWebhook',
    tags: ['admin'],
    summary: 'Be told once more',
    description: 'Of everything that came after an event or a time, at most 14 days ago.',
    params: WebhookParams,
    body: RedeliverBody,
    response: { 202: RedeliverySchema },
  }
  const config = { ...client, problems: ['not_found' as const, 'conflict' as const] }
  app.post('/admin/webhooks/:id/redeliver', { config, schema }, async (request, reply) => {
    const answer = await redeliver(services, request.params.id, {
      after: request.body.after,
      by: { caller: callerOf(request) },
    })
    reply.code(202)
    return answer
  })
}
