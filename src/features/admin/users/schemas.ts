import Type from 'typebox'
import { methodNames } from '../../../methods.ts'
import { userStatuses } from '../../../store/admin.ts'
import { email, locale } from '../../login/fields.ts'
import { SessionListSchema } from '../../sessions/schemas.ts'
import { externalId } from '../external-id.ts'

const uuidExample = '6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'
const example = '2026-11-24T08:00:00.000Z'
const time = (description: string) => Type.String({ format: 'date-time', description, examples: [example] })
/** One that comes in. */
const moment = (description: string) =>
  Type.String({ format: 'date-time', maxLength: 40, description, examples: [example] })
const orNull = (shown: string, description: string, options: Type.TStringOptions = {}) =>
  Type.Union([Type.String(options), Type.Null()], { description, examples: [shown] })
const timeOrNull = (description: string) => orNull(example, description, { format: 'date-time' })
const id = Type.String({ format: 'uuid', examples: [uuidExample] })

const twoFactor = Type.Enum(['required', 'optional', 'off'], {
  description: 'Whether a login asks for a second factor: always, if there is one, or never.',
})
const phone = Type.String({ maxLength: 40, description: 'With + and country code.' })

export const UserSchema = Type.Object(
  {
    id,
    external_id: orNull('customer-4711', 'What your system calls the user.'),
    email: Type.String({ examples: ['ada@example.com'] }),
    email_confirmed: Type.Boolean({ description: 'Whether the mailbox has been proven.' }),
    phone: orNull('+44 •••••••• 23', 'The number of the `sms` factor: masked, unless the client has `users:contact`.'),
    locale: Type.String({ description: 'The language of mails.', examples: ['en'] }),
    status: Type.Enum([...userStatuses], {
      description: '`invited`: no password was set yet; `erasing`: the user has left, and is erased in some days.',
    }),
    two_factor: twoFactor,
    methods: Type.Array(Type.Enum([...methodNames]), {
      description: 'What can be the second factor of a login, best first.',
      examples: [['totp', 'sms', 'recovery_code']],
    }),
    password: Type.Enum(['set', 'none', 'imported', 'reset_required'], {
      description:
        '`imported`: set elsewhere, and not used here yet; `reset_required`: the old one is worth nothing any more.',
    }),
    created_at: time('When the account was made.'),
    last_login_at: timeOrNull(
      'When the user last signed in, or proved a second factor once more; null if it was never, or too long ago to be known.',
    ),
  },
  { $id: 'User' },
)

/** The answer by its name in the OpenAPI document. */
export const UserRef = Type.Unsafe<Type.Static<typeof UserSchema>>({ $ref: 'User#' })

const FactorView = Type.Object({
  id: Type.String({
    description: 'A UUID; `recovery_code` for these, which go with the last factor.',
    examples: [uuidExample],
  }),
  method: Type.Enum([...methodNames], { examples: ['sms'] }),
  name: orNull("Ada's phone", 'How its owner calls it.'),
  destination: Type.Optional(
    Type.String({ description: 'Of sms: the number, masked as `phone` is.', examples: ['+44 •••••••• 23'] }),
  ),
  remaining: Type.Optional(Type.Integer({ description: 'Of recovery codes: how many are left.', examples: [10] })),
  created_at: time('When it was proven.'),
  last_used_at: timeOrNull('When it was last used.'),
})

const SessionView = Type.Omit(SessionListSchema.properties.sessions.items, ['current'])

const DeviceView = Type.Object({
  id,
  name: orNull("Ada's phone", 'How its owner calls it.'),
  created_at: time('When it first signed in.'),
  last_used_at: time('When it last signed in.'),
  address: orNull('192.0.2.7', 'Where from.'),
  user_agent: orNull('Mozilla/5.0', 'With what.'),
  trusted_until: timeOrNull('Until then it skips the second factor.'),
})

export const WholeUserSchema = Type.Object({
  ...UserSchema.properties,
  factors: Type.Array(FactorView),
  sessions: Type.Array(SessionView, { description: 'Those that live, the one used last first.' }),
  devices: Type.Array(DeviceView, { description: 'Known ones, the one used last first.' }),
  login_locked_until: timeOrNull(
    'Until then passwords are not looked at, from strangers or from a device; null if nothing is locked.',
  ),
  second_factor_locked_until: timeOrNull(
    'Until then codes are refused, from strangers or from known devices; null if nothing is locked.',
  ),
})

export const SearchBody = Type.Object(
  {
    email: Type.Optional(email),
    email_prefix: Type.Optional(
      Type.String({ minLength: 1, maxLength: 254, description: 'How the e-mail begins; case does not matter.' }),
    ),
    phone: Type.Optional(
      Type.String({ pattern: '^\\+[0-9][0-9 ()-]{5,38}$', maxLength: 40, description: 'With + and country code.' }),
    ),
    external_id: Type.Optional(externalId),
    status: Type.Optional(Type.Enum([...userStatuses])),
    created_after: Type.Optional(moment('Later than that.')),
    created_before: Type.Optional(moment('Earlier than that.')),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 200, description: 'Users on a page; 50 without a word.', examples: [50] }),
    ),
    cursor: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 128,
        description: '`next_cursor` of the page before, with the same filters.',
      }),
    ),
  },
  { additionalProperties: false, examples: [{ email_prefix: 'ada', status: 'active', limit: 20 }] },
)

export const FoundSchema = Type.Object({
  users: Type.Array(UserRef, { description: 'The newest first.' }),
  next_cursor: orNull('MTc5NTY0…', 'Asks for the next page; null at the last.'),
})

export const CreateBody = Type.Object(
  {
    email,
    external_id: Type.Optional(externalId),
    locale: Type.Optional(locale),
    two_factor: Type.Optional(twoFactor),
    phone: Type.Optional(phone),
    phone_confirmed: Type.Optional(
      Type.Boolean({
        description:
          'Your system has proven the number: it is a second factor. False without a word, and then it is not kept. True needs `phone`.',
      }),
    ),
    invite: Type.Optional(
      Type.Boolean({
        description: 'Mail a link, good for seven days, by which a password is set. True without a word.',
      }),
    ),
    email_confirmed: Type.Optional(
      Type.Boolean({ description: 'Your system has proven the mailbox. False without a word.' }),
    ),
  },
  { additionalProperties: false, examples: [{ email: 'ada@example.com', external_id: 'customer-4711', locale: 'en' }] },
)

export const ChangeBody = Type.Object(
  {
    email: Type.Optional(email),
    external_id: Type.Optional(Type.Union([externalId, Type.Null()], { description: 'Null: none any more.' })),
    locale: Type.Optional(Type.Union([locale, Type.Null()], { description: 'Null: English.' })),
    two_factor: Type.Optional(twoFactor),
    disabled: Type.Optional(
      Type.Boolean({ description: 'False also takes back that the user has left, as long as it is not erased.' }),
    ),
  },
  { additionalProperties: false, examples: [{ external_id: 'customer-4711', disabled: true }] },
)

export const ResetBody = Type.Object(
  {
    force: Type.Optional(
      Type.Boolean({ description: 'The old password is worth nothing from now on, and all sessions end.' }),
    ),
  },
  { additionalProperties: false, examples: [{ force: true }] },
)

export const UnlockBody = Type.Object(
  {
    all: Type.Optional(
      Type.Boolean({ description: 'Also what is counted of codes in a day and in 30 days, and of texts and mails.' }),
    ),
  },
  { additionalProperties: false, examples: [{ all: true }] },
)

export const UserParams = Type.Object({
  id: Type.String({ format: 'uuid', maxLength: 36, description: 'The user.', examples: [uuidExample] }),
})

/** Of something that is a user's. */
export const PartParams = Type.Object({
  ...UserParams.properties,
  part: Type.String({
    format: 'uuid',
    maxLength: 36,
    description: 'The one that is taken away.',
    examples: ['0d9a7a70-3c1f-4f1e-8a55-6c5e0d2b7f10'],
  }),
})

export type User = Type.Static<typeof UserSchema>
export type WholeUser = Type.Static<typeof WholeUserSchema>
export type Search = Type.Static<typeof SearchBody>
export type NewUser = Type.Static<typeof CreateBody>
export type UserChange = Type.Static<typeof ChangeBody>
