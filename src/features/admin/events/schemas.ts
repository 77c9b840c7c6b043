import Type from 'typebox'

const orNull = <S extends Type.TSchema>(schema: S, description: string) =>
  Type.Union([schema, Type.Null()], { description })

const eventName = Type.String({
  pattern: '^evt_[0-9]{19}$',
  description: 'Rises with time, as a text too.',
  examples: ['evt_0000000000000004711'],
})

const place = (description: string) =>
  Type.Optional(
    Type.String({
      maxLength: 64,
      description: `${description}: the \`id\` of an event, or a time (RFC 3339).`,
      examples: ['evt_0000000000000004711'],
    }),
  )

export const EventsQuery = Type.Object(
  {
    user_id: Type.Optional(
      Type.String({
        format: 'uuid',
        maxLength: 36,
        description: 'Whom the events are about.',
        examples: ['0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'],
      }),
    ),
    type: Type.Optional(
      Type.String({
        maxLength: 65,
        pattern: '^[a-z_]{1,32}\\.([a-z_]{1,32}|\\*)$',
        description: 'A type, or a group of them: `factor.*`.',
        examples: ['factor.*'],
      }),
    ),
    after: place('Only what came after it'),
    before: place('Only what came before it'),
    limit: Type.Optional(
      Type.String({
        maxLength: 3,
        pattern: '^([1-9][0-9]?|1[0-9]{2}|200)$',
        description: 'From 1 to 200; 50 without it.',
        examples: ['50'],
      }),
    ),
    cursor: Type.Optional(
      Type.String({
        maxLength: 32,
        description: 'The `next_cursor` of the page before, with the same query.',
        examples: ['evt_0000000000000004711'],
      }),
    ),
    order: Type.Optional(
      Type.Enum(['asc', 'desc'], {
        description: 'By time; without it `asc` where there is an `after`, otherwise `desc`.',
        examples: ['asc'],
      }),
    ),
  },
  { additionalProperties: false },
)

export const actor = Type.Object({
  type: Type.Enum(['user', 'client', 'operator', 'system']),
  id: orNull(Type.String({ examples: ['0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'] }), 'Of the user or the client.'),
})

export const EventSchema = Type.Object(
  {
    id: eventName,
    at: Type.String({ format: 'date-time', examples: ['2026-11-24T08:00:00.000Z'] }),
    type: Type.String({ examples: ['factor.added'] }),
    outcome: Type.String({ examples: ['totp'] }),
    user_id: orNull(
      Type.String({ format: 'uuid', examples: ['0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'] }),
      'Whom it is about.',
    ),
    actor,
    factor: orNull(Type.String({ examples: ['totp'] }), '`password`, or a method.'),
    address: orNull(Type.String({ examples: ['203.0.113.7'] }), 'Where the request came from; of IPv6 the /64.'),
    request_id: orNull(
      Type.String({ examples: ['5f0c9a52-8f0e-4a5b-9f53-6d1f3b6f0c11'] }),
      'Finds the log lines of the request.',
    ),
    detail: orNull(
      Type.String({ examples: ['session 6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'] }),
      'Such as the session or device that it was about.',
    ),
  },
  { $id: 'Event' },
)

export const EventPageSchema = Type.Object({
  events: Type.Array(Type.Ref('Event') as unknown as typeof EventSchema),
  next_cursor: orNull(
    Type.String({ examples: ['evt_0000000000000004711'] }),
    'The next page; null where there is none for now. A page may be short, or empty, and still have one.',
  ),
})

export type EventsQuery = Type.Static<typeof EventsQuery>
export type EventPage = Type.Static<typeof EventPageSchema>
