import Type from 'typebox'
import { pushedTypes } from '../../../events.ts'

const time = (description: string) =>
  Type.String({ format: 'date-time', description, examples: ['2026-11-24T08:00:00.000Z'] })
const orNull = <S extends Type.TSchema>(schema: S, description: string) =>
  Type.Union([schema, Type.Null()], { description })

/** The types that are pushed, and the groups of them. */
export const wanted = [...pushedTypes, ...new Set(pushedTypes.map((type) => `${type.split('.')[0]}.*`))]

const url = Type.String({
  minLength: 1,
  maxLength: 2_048,
  description: 'https (http too outside production), without credentials and fragment.',
  examples: ['https://backend.example.com/hooks/doorstep'],
})
const events = Type.Array(Type.Enum(wanted), {
  minItems: 1,
  maxItems: wanted.length,
  uniqueItems: true,
  description: 'Types, or groups of them.',
  examples: [['user.created', 'factor.*']],
})
const description = Type.Union([Type.String({ minLength: 1, maxLength: 256 }), Type.Null()])

export const WebhookBody = Type.Object(
  { url, events, description: Type.Optional(description) },
  {
    additionalProperties: false,
    examples: [{ url: 'https://backend.example.com/hooks/doorstep', events: ['user.created', 'factor.*'] }],
  },
)

export const WebhookChangeBody = Type.Object(
  {
    url: Type.Optional(url),
    events: Type.Optional(events),
    description: Type.Optional(description),
    status: Type.Optional(
      Type.Enum(['active', 'disabled'], {
        description:
          '`active`: what happens from now on is sent, and what still waits. What happened meanwhile: `redeliver`.',
      }),
    ),
  },
  { additionalProperties: false, examples: [{ status: 'active' }] },
)

export const RedeliverBody = Type.Object(
  {
    after: Type.String({
      minLength: 1,
      maxLength: 64,
      description: 'The `id` of an event, or a time (RFC 3339); at most 14 days ago.',
      examples: ['evt_0000000000000004711'],
    }),
  },
  { additionalProperties: false, examples: [{ after: 'evt_0000000000000004711' }] },
)

export const RedeliverySchema = Type.Object({
  after: Type.String({
    description: 'What came after this event is sent once more.',
    examples: ['evt_0000000000000004711'],
  }),
})

const webhook = {
  id: Type.String({ format: 'uuid', examples: ['2c1f6f3e-7a52-4d3a-9a39-0a1f2b3c4d5e'] }),
  url: Type.String({ examples: ['https://backend.example.com/hooks/doorstep'] }),
  events: Type.Array(Type.String(), { examples: [['user.created', 'factor.*']] }),
  description: orNull(Type.String({ examples: ['What our CRM hears of'] }), 'For people.'),
  status: Type.Enum(['active', 'disabled']),
  disabled_reason: orNull(
    Type.Enum(['gone', 'failing', 'by_hand']),
    '`gone`: it answered 410; `failing`: five days without a success.',
  ),
  created_at: time('When it was made.'),
  failing_since: orNull(time('The first failure since the last success.'), 'The first failure since the last success.'),
  last_delivered_at: orNull(time('Within a minute.'), 'The last success, within a minute.'),
  last_error: orNull(Type.String({ examples: ['http_500'] }), 'Of the last try that failed since.'),
  waiting: Type.Integer({ description: 'Events that it is still to hear of; 10000 stands for more.', examples: [0] }),
}

export const WebhookSchema = Type.Object(webhook, { $id: 'Webhook' })

export const NewWebhookSchema = Type.Object(
  {
    ...webhook,
    secret: Type.String({
      description: 'Checks the signatures. Shown this once.',
      examples: ['whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD'],
    }),
  },
  { $id: 'NewWebhook' },
)

const ref = <S extends Type.TSchema>(schema: S, name: string) => Type.Ref(name) as unknown as typeof schema

export const WebhookRef = ref(WebhookSchema, 'Webhook')
export const NewWebhookRef = ref(NewWebhookSchema, 'NewWebhook')
export const WebhookListSchema = Type.Object({ webhooks: Type.Array(WebhookRef) })
export const WebhookParams = Type.Object({
  id: Type.String({
    format: 'uuid',
    maxLength: 36,
    description: 'The endpoint.',
    examples: ['2c1f6f3e-7a52-4d3a-9a39-0a1f2b3c4d5e'],
  }),
})

export type WebhookView = Type.Static<typeof WebhookSchema>
export type NewWebhookView = Type.Static<typeof NewWebhookSchema>
export type WebhookBody = Type.Static<typeof WebhookBody>
export type WebhookChangeBody = Type.Static<typeof WebhookChangeBody>
export type RedeliveryView = Type.Static<typeof RedeliverySchema>
