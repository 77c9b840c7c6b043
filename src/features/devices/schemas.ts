import Type from 'typebox'

const uuidExample = '0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'
const time = (description: string) =>
  Type.String({ format: 'date-time', description, examples: ['2026-11-24T08:00:00.000Z'] })

export const DeviceSchema = Type.Object({
  id: Type.String({ format: 'uuid', examples: [uuidExample] }),
  name: Type.Union([Type.String(), Type.Null()], { examples: ["Ada's phone"] }),
  created_at: time('When it first signed in.'),
  last_used_at: time('When it last signed in.'),
  address: Type.Union([Type.String(), Type.Null()], { examples: ['192.0.2.7'] }),
  user_agent: Type.Union([Type.String(), Type.Null()], { examples: ['Mozilla/5.0'] }),
  trusted_until: Type.Union([Type.String({ format: 'date-time' }), Type.Null()], {
    description: 'Until then it skips the second factor; null where it does not.',
    examples: ['2026-12-24T08:00:00.000Z'],
  }),
  current: Type.Boolean({ description: 'The one that asks.' }),
})

export const DeviceListSchema = Type.Object({ devices: Type.Array(DeviceSchema) })

export const DeviceParams = Type.Object({
  id: Type.String({ format: 'uuid', maxLength: 36, description: 'Of `GET /devices`.', examples: [uuidExample] }),
})

export const DeviceBody = Type.Object(
  {
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 64, description: 'How its owner will know it again.' })),
    trusted: Type.Optional(
      Type.Literal(false, { description: 'Ends its trust; trust begins at `POST /login/2fa` only.' }),
    ),
  },
  { additionalProperties: false, examples: [{ name: "Ada's phone" }] },
)

export type DeviceView = Type.Static<typeof DeviceSchema>
export type DeviceList = Type.Static<typeof DeviceListSchema>
