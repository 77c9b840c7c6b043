import { type Command, required, serve, text } from './command.ts'
import { usageError } from './failures.ts'

/** The commands about webhooks: their words, what may follow them, and the use case behind it. */
export const webhookCommands: Record<string, Command> = {
  'webhook list': {
    usage: '',
    options: {},
    run: async (_given, place) => {
      const { listWebhooks } = await import('../features/admin/webhooks/list-webhooks.ts')
      return serve(place, (services) => listWebhooks(services))
    },
  },
  'webhook redeliver': {
    usage: '--id ID --after EVENT|TIME',
    options: { id: text, after: text },
    run: async (given, place) => {
      const [id, after] = [required(given, 'id'), required(given, 'after')]
      if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id))
        throw usageError('--id must be the id of a webhook.')
      const { redeliver } = await import('../features/admin/webhooks/redeliver.ts')
      return serve(place, (services) => redeliver(services, id, { after, by: { byOperator: true } }))
    },
  },
}
