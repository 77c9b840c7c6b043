import type { Services } from '../../../services.ts'
import type { App } from '../../app-type.ts'
import { callerOf } from '../../request.ts'
import type { Hourly } from '../hourly.ts'
import { readEvents } from './read-events.ts'
import { EventPageSchema, EventsQuery } from './schemas.ts'

/** The log of events, as backends read it. */
export function eventRoutes(app: App, services: Services, hourly: Hourly): void {
  const schema = {
    operationId: 'readEvents',
    tags: ['admin'],
    summary: 'What happened',
    description:
      'The log of events. Nothing ever comes behind an event that was read: whoever remembers the `id` of the last one and asks for what ' +
      'came `after` it misses none. With a time in its place an event whose time is a moment out of order may be missed: go on with ids. ' +
      'Kept for `EVENT_RETENTION_DAYS`. That a client has read them is recorded once an hour.',
    querystring: EventsQuery,
    response: { 200: EventPageSchema },
  }
  const config = { access: 'client' as const, scope: 'events:read' as const, problems: [] }
  app.get('/admin/events', { config, schema }, async (request) =>
    readEvents(services, request.query, { caller: callerOf(request), hourly }),
  )
}
