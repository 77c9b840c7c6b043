import type { ProblemCode } from '../../errors.ts'

/** What a text that is due may run into. */
export const textProblems: ProblemCode[] = [
  ...(['resend_too_soon', 'sms_limit_reached'] as const),
  ...(['phone_unreachable', 'phone_not_allowed', 'sms_unavailable'] as const),
]

/** What a text or a mail that is due may run into. */
export const sendProblems: ProblemCode[] = [...textProblems, 'mail_limit_reached', 'mail_unavailable']
