import Type from 'typebox'
import { byStatus, device_token, email, linkToken, locale, password, remember_me, return_to } from '../login/fields.ts'
import { type LoginAnswer, loginAnswers } from '../login/schemas.ts'

export const LinkBody = Type.Object(
  { email, locale: Type.Optional(locale), device_token },
  { additionalProperties: false, examples: [{ email: 'grace@example.com', locale: 'en' }] },
)

export const MailSentSchema = Type.Object({
  status: Type.Literal('mail_sent'),
  expires_in: Type.Integer({ description: 'Seconds that the link in the mail lives.', examples: [86_400] }),
  resend_after: Type.Integer({ description: 'Seconds until another mail can be had.', examples: [60] }),
})

export const SetPasswordBody = Type.Object(
  { token: linkToken('/set-password'), password, remember_me, return_to, device_token },
  {
    additionalProperties: false,
    examples: [
      { token: 'dsm_8qTR0m7ZkH1uWn5sYbXv2cD4eFgJhLpQaKiOuEwRtYz', password: 'a long sentence that only she knows' },
    ],
  },
)

export const PasswordSetSchema = Type.Object(
  {
    status: Type.Literal('password_set', { description: 'The login could not go on: sign in.' }),
    retry_after: Type.Optional(Type.Integer({ description: 'Seconds.', examples: [30] })),
  },
  { $id: 'PasswordSet' },
)

export const SetPasswordAnswerSchema = byStatus<LoginAnswer | PasswordSet>({
  ...loginAnswers,
  password_set: 'PasswordSet',
})

export const ChangePasswordBody = Type.Object(
  { current_password: password, password },
  {
    additionalProperties: false,
    examples: [
      { current_password: 'correct horse battery staple', password: 'a long sentence that only one person knows' },
    ],
  },
)

export type MailSent = Type.Static<typeof MailSentSchema>
export type PasswordSet = Type.Static<typeof PasswordSetSchema>
