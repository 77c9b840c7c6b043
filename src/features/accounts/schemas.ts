import Type from 'typebox'
import { methodNames } from '../../methods.ts'
import { email, linkToken, locale } from '../login/fields.ts'

export const MeSchema = Type.Object({
  id: Type.String({ format: 'uuid', examples: ['6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'] }),
  email: Type.String({ examples: ['ada@example.com'] }),
  email_confirmed: Type.Boolean({ description: 'Whether the mailbox has been proven.' }),
  locale: Type.String({ description: 'The language of mails.', examples: ['en'] }),
  phone: Type.Union([Type.String(), Type.Null()], {
    description: 'The number of the `sms` factor, masked.',
    examples: ['+44 •••••••• 23'],
  }),
  two_factor: Type.Enum(['required', 'optional', 'off'], {
    description: 'Whether a login asks for a second factor: always, if there is one, or never.',
  }),
  methods: Type.Array(Type.Enum([...methodNames]), {
    description: 'What can be the second factor of a login, best first.',
    examples: [['totp', 'sms', 'recovery_code']],
  }),
  amr: Type.Array(Type.String(), { examples: [['pwd', 'sms', 'mfa']] }),
  acr: Type.String({ examples: ['aal2'] }),
  auth_time: Type.Integer({
    description: 'When the session was authenticated, in seconds since 1970.',
    examples: [1_893_553_445],
  }),
})

const moment = Type.String({ format: 'date-time', examples: ['2030-01-02T03:04:05.000Z'] })
const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const text = (example: string, description?: string) =>
  Type.String({ examples: [example], ...(description !== undefined && { description }) })
const id = Type.String({ format: 'uuid', examples: ['6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'] })
const used = {
  created_at: moment,
  last_used_at: moment,
  user_agent: orNull(text('Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0')),
  address: orNull(text('203.0.113.7')),
}

export const ExportSchema = Type.Object({
  profile: Type.Object({
    id,
    email: text('ada@example.com'),
    email_confirmed: Type.Boolean({ examples: [true] }),
    locale: text('en'),
    two_factor: text('required'),
    created_at: moment,
  }),
  factors: Type.Array(
    Type.Object({
      id,
      method: text('sms'),
      name: orNull(text('phone')),
      phone: orNull(text('+44 •••••••• 23', 'Masked.')),
      created_at: moment,
      last_used_at: orNull(moment),
    }),
  ),
  recovery_codes: Type.Integer({ description: 'How many are left.', examples: [10] }),
  sessions: Type.Array(Type.Object({ id, ...used })),
  devices: Type.Array(Type.Object({ id, name: orNull(text('phone')), ...used })),
  events: Type.Array(
    Type.Object({
      at: moment,
      type: text('session.started'),
      outcome: text('aal2'),
      factor: orNull(text('sms')),
      address: orNull(text('203.0.113.7')),
    }),
  ),
  texts: Type.Array(Type.Object({ at: moment, phone: text('+44 •••••••• 23', 'Masked.'), delivery: text('sent') })),
  mails: Type.Array(
    Type.Object({
      at: moment,
      address: text('a••@e••••••.com', 'Masked.'),
      topic: text('factor.added'),
      delivery: text('sent'),
    }),
  ),
})

export const LocaleBody = Type.Object({ locale }, { additionalProperties: false, examples: [{ locale: 'de' }] })

export const EmailBody = Type.Object(
  { email },
  { additionalProperties: false, examples: [{ email: 'ada@example.org' }] },
)

export const ConfirmEmailBody = Type.Object(
  { token: linkToken('/confirm-email') },
  { additionalProperties: false, examples: [{ token: 'dsm_8qTR0m7ZkH1uWn5sYbXv2cD4eFgJhLpQaKiOuEwRtYz' }] },
)

export const SecureBody = Type.Object(
  { token: linkToken('/not-me') },
  { additionalProperties: false, examples: [{ token: 'dsm_8qTR0m7ZkH1uWn5sYbXv2cD4eFgJhLpQaKiOuEwRtYz' }] },
)

export type Me = Type.Static<typeof MeSchema>
export type Exported = Type.Static<typeof ExportSchema>
