import Type from 'typebox'

// What the bodies of more than one call have, and how answers of more than one kind are told apart.

export const email = Type.String({
  minLength: 3,
  maxLength: 320,
  description: 'Trimmed, NFKC, lower-cased; then 3 to 254 characters.',
})

export const password = Type.String({ minLength: 1, maxLength: 256, description: 'Taken exactly as sent.' })

export const remember_me = Type.Optional(
  Type.Boolean({ description: 'Keep the session for up to 30 days instead of 12 hours.' }),
)

export const device_token = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: 128,
    description:
      'Of a known device: limits of its own, and no second factor while it is trusted. Never in place of the password.',
  }),
)

export const return_to = Type.Optional(
  Type.String({
    maxLength: 512,
    pattern: '^/(?![/\\\\])[^\\u0000-\\u001f\\u007f]*$',
    description: 'A local path that comes back with the tokens.',
  }),
)

export const locale = Type.String({
  pattern: '^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$',
  maxLength: 35,
  description: 'Language of mails (BCP 47); English where it is not known.',
  examples: ['de'],
})

/** What follows `#token=` in the link of a mail. */
export const linkToken = (name: string) =>
  Type.String({ minLength: 1, maxLength: 128, description: `From the mail: what follows \`${name}#token=\`.` })

/** `oneOf` answers that are told apart by `status`, which generated clients switch on. */
export function byStatus<Answer>(names: Record<string, string>) {
  return Type.Unsafe<Answer>({
    oneOf: Object.values(names).map((name) => ({ $ref: `${name}#` })),
    discriminator: {
      propertyName: 'status',
      mapping: Object.fromEntries(
        Object.entries(names).map(([status, name]) => [status, `#/components/schemas/${name}`]),
      ),
    },
  })
}
