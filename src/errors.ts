/**
 * The problem catalogue: every failure that a client can meet. `code` is the stable machine value (RFC 9457 `type` ends
 * with it), `title` the same text for every occurrence, `advice` what `GET /problems/{code}` tells a developer to do.
 */
export const problemCatalogue = {
  invalid_request: {
    status: 400,
    title: 'The request does not match its schema',
    advice: 'Correct what `errors` points at (JSON pointers into the body) and send the request again.',
  },
  invalid_credentials: {
    status: 401,
    title: 'E-mail, password or passkey is wrong',
    advice: 'Ask for it again. Whether the account exists, or is disabled, is never told.',
  },
  invalid_token: {
    status: 401,
    title: 'The token is missing or not valid here',
    advice: 'Missing, malformed, expired, of the wrong kind, revoked or used. For a pending token: sign in again.',
  },
  insufficient_user_authentication: {
    status: 401,
    title: 'A fresher or stronger sign-in is needed',
    advice:
      'Read `acr_values` and `max_age` in `WWW-Authenticate` (RFC 9470), step up with `POST /login/step-up` (an account ' +
      'without a second factor: with its password), and repeat the call.',
  },
  refresh_token_reused: {
    status: 401,
    title: 'This refresh token was already used',
    advice: 'A copy of it is in other hands, or was stored twice. The session is revoked: sign in again.',
  },
  insufficient_scope: {
    status: 403,
    title: 'The client may not do this',
    advice: '`scope` names what is missing: use a client that has it. Who operates the service makes clients.',
  },
  password_reset_required: {
    status: 403,
    title: 'This password may not be used any more',
    advice: 'It was right, but the account was secured or an operator wants a new one: `POST /password/forgot`.',
  },
  invalid_signature: {
    status: 403,
    title: 'The webhook signature does not hold',
    advice: 'Check the auth token, and that PUBLIC_URL is exactly the address the provider calls.',
  },
  not_found: { status: 404, title: 'There is nothing here', advice: 'Check the path against the OpenAPI document.' },
  method_not_allowed: { status: 405, title: 'This path has other methods', advice: 'Use one that `Allow` lists.' },
  conflict: {
    status: 409,
    title: 'This conflicts with what there is',
    advice: 'Use what exists already, or do first what `detail` names.',
  },
  last_factor: {
    status: 409,
    title: 'This is the last second factor',
    advice: 'The account has to have one: let the user add another first, then remove this one.',
  },
  code_expired: {
    status: 410,
    title: 'The code has run out',
    advice:
      'The pending token still lives: ask for the code again with `POST /login/2fa/resend`, or go on with another of ' +
      'the `methods`.',
  },
  link_expired: {
    status: 410,
    title: 'The link is not good any more',
    advice: 'Unknown, used or expired, which is not told apart. Ask for another mail.',
  },
  payload_too_large: { status: 413, title: 'The body is too large', advice: 'Send at most 16 KiB, 4 KiB for a login.' },
  unsupported_media_type: {
    status: 415,
    title: 'The body is not of the type that the call takes',
    advice:
      'Send UTF-8 with `Content-Type: application/json` (a form where the call asks for one) and no content encoding.',
  },
  invalid_code: {
    status: 422,
    title: 'The code or passkey is wrong',
    advice:
      'Let the user try again, or with another of the `methods`, while `attempts_remaining` is above 0. All of them use ' +
      'up the same tries. A code of an authenticator app works once: after it comes the next.',
  },
  invalid_password: {
    status: 422,
    title: 'The password is wrong',
    advice: 'Ask for the current password again; the session stays.',
  },
  phone_unreachable: {
    status: 422,
    title: 'This phone cannot receive texts',
    advice: 'The number is invalid, a landline, or has opted out. Offer another of the `methods` or another number.',
  },
  phone_not_allowed: {
    status: 422,
    title: 'Numbers like this are not accepted',
    advice: 'Use a mobile number of a country that the service allows.',
  },
  login_locked: {
    status: 429,
    title: 'Too many failed sign-ins for this e-mail',
    advice: 'Wait `retry_after` seconds. Trying earlier is not evaluated and prolongs nothing.',
  },
  code_attempts_exhausted: {
    status: 429,
    title: 'Too many wrong answers for this login',
    advice:
      'Sign in again after `retry_after` seconds. Another of the `methods` does not help: the tries are of the login.',
  },
  second_factor_locked: {
    status: 429,
    title: 'The second factor of this account is locked',
    advice:
      'Wait `retry_after` seconds; a passkey or a recovery code works meanwhile. Tell the owner to change the password: ' +
      'somebody else may have it.',
  },
  resend_too_soon: {
    status: 429,
    title: 'A code was sent a moment ago',
    advice: 'Wait `retry_after` seconds before asking for another text or mail, or use the code that has arrived.',
  },
  sms_limit_reached: {
    status: 429,
    title: 'Too many texts without a sign-in',
    advice:
      'Wait `retry_after` seconds and sign in again, use a text that has already arrived, or go on with another of ' +
      'the `methods`.',
  },
  mail_limit_reached: {
    status: 429,
    title: 'Too many mails without a sign-in',
    advice:
      'Wait `retry_after` seconds and sign in again, use a mail that has already arrived, or go on with another of ' +
      'the `methods`.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many requests',
    advice: 'Wait `retry_after` seconds. Requests are counted by address, network, client or account.',
  },
  internal_error: {
    status: 500,
    title: 'Something went wrong here',
    advice: 'Report `instance`: it finds the log lines of this request.',
  },
  sms_unavailable: {
    status: 503,
    title: 'Texts cannot be sent at the moment',
    advice: 'Try again after `retry_after` seconds, or go on with another of the `methods`.',
  },
  mail_unavailable: {
    status: 503,
    title: 'Mails cannot be sent at the moment',
    advice: 'Try again after `retry_after` seconds, or go on with another of the `methods`.',
  },
  busy: { status: 503, title: 'Too many sign-ins at this moment', advice: 'Try again after `retry_after` seconds.' },
  unavailable: {
    status: 503,
    title: 'The service cannot answer now',
    advice: 'Try again after `retry_after` seconds.',
  },
} as const satisfies Record<string, { status: number; title: string; advice: string }>

export type ProblemCode = keyof typeof problemCatalogue

/** What a problem may add to its code; everything here is shown to the client. */
export type ProblemExtras = {
  detail?: string
  /** Whole seconds; also sent as `Retry-After`. */
  retryAfter?: number | null
  attemptsRemaining?: number
  errors?: { pointer: string; message: string }[]
  /** What a client lacks. */
  scope?: string
  /** Of a conflict: the user that is there already. */
  userId?: string
  headers?: Record<string, string>
}

/** A failure that the client is told about. Thrown by rules and use cases; http/problems.ts writes it (RFC 9457). */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly extras: ProblemExtras

  constructor(code: ProblemCode, extras: ProblemExtras = {}) {
    super(code)
    this.name = 'Problem'
    this.code = code
    this.extras = extras
  }
}

/** What is wrong with one field of a body. */
export const invalidField = (pointer: string, message: string): Problem =>
  new Problem('invalid_request', { errors: [{ pointer, message }] })
