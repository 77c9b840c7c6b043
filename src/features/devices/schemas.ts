import Type from 'typebox'

const uuidExample = '0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'
const time = (description: string) =>
  Type.String({ format: 'date-time', description, examples: ['2026-11-24T08:00:00.000Z'] })

export const DeviceListSchema = Type.Object({
  trusted_devices: Type.Array(
    Type.Object({
      id: Type.String({ format: 'uuid', examples: [uuidExample] }),
      name: Type.Union([Type.String(), Type.Null()], { examples: ["Ada's phone"] }),
      created_at: time('When it was trusted.'),
      last_used_at: time('When it last signed in.'),
      expires_at: time('When it stops being trusted by itself.'),
      address: Type.Union([Type.String(), Type.Null()], { examples: ['192.0.2.7'] }),
    }),
  ),
})

export const DeviceParams = Type.Object({ id: Type.String({ format: 'uuid', maxLength: 36, examples: [uuidExample] }) })

export type DeviceList = Type.Static<typeof DeviceListSchema>
