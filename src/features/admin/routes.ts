import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { eventRoutes } from './events/routes.ts'
import { EventSchema } from './events/schemas.ts'
import { createHourly } from './hourly.ts'
import { recordRefusals } from './record-refusals.ts'
import { userHelpRoutes } from './users/help-routes.ts'
import { userRoutes } from './users/routes.ts'
import { UserSchema } from './users/schemas.ts'
import { webhookRoutes } from './webhooks/routes.ts'
import { NewWebhookSchema, WebhookSchema } from './webhooks/schemas.ts'

/** What backends do. Every call leaves an event: what it did, what it read, or why it was refused. */
export async function adminRoutes(app: App, services: Services): Promise<void> {
  for (const schema of [UserSchema, EventSchema, WebhookSchema, NewWebhookSchema]) app.addSchema(schema)
  const hourly = createHourly(services.clock)
  await app.register(async (scope) => {
    const admin = scope as App
    recordRefusals(admin, services)
    userRoutes(admin, services)
    userHelpRoutes(admin, services)
    eventRoutes(admin, services, hourly)
    webhookRoutes(admin, services, hourly)
  })
}
