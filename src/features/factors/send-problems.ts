import type { ProblemCode } from '../../errors.ts'

/** What a text or a mail that is due may run into. */
export const sendProblems: ProblemCode[] = [
  ...(['resend_too_soon', 'sms_limit_reached', 'mail_limit_reached'] as const),
  ...(['phone_unreachable', 'phone_not_allowed', 'sms_unavailable', 'mail_unavailable'] as const),
]
