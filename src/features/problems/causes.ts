import type { ProblemCode } from '../../errors.ts'

/** Why a client meets each problem, for a developer who does for the first time. What to do about it is its `advice`. */
export const causes: Record<ProblemCode, string> = {
  invalid_request:
    'The body, a parameter or a header does not match the schema of the call: a field is missing, unknown, of another type, or ' +
    'has not the right form; or the body is not well-formed JSON. Nothing was looked up, and no try was used.',
  invalid_credentials:
    'The e-mail is unknown, the password wrong, the account disabled, or the passkey proves nothing. They are one answer after ' +
    'the same work, so that nobody finds out who has an account. On the calls of backends: id or secret is wrong.',
  invalid_token:
    'A token has to stand in `Authorization: Bearer …`. This one is missing, malformed, expired, of another kind than the call ' +
    'takes, used already, or of a session that has ended.',
  insufficient_user_authentication:
    'The token is good, but the call asks for a sign-in of the last ten minutes, with the best proof that the account has.',
  refresh_token_reused:
    'A refresh token was presented again more than 30 seconds after it had been replaced. Then two parties hold it, and one of ' +
    'them may be a thief.',
  insufficient_scope: 'The credentials are good, but of a client that has not been given what this call needs.',
  password_reset_required:
    'The password was right. But the owner has said “that was not me”, or an operator has had it replaced, and it opens nothing.',
  invalid_signature:
    'Whoever sent this receipt does not know the auth token of the provider, or signed another address.',
  not_found: 'No call has this path, or what it names does not exist, or is not yours: these are not told apart.',
  method_not_allowed: 'The path exists, with other methods than this.',
  conflict:
    'What is to be made exists already, is being done by another request at this moment, or was taken by somebody else meanwhile.',
  last_factor: 'The policy wants a second factor of this account, and this is the only one that it has.',
  code_expired:
    'A texted code lives for five minutes after it was last sent, or as long as `CODE_TTL` says. The login that it is for still goes ' +
    'on. A mailed code lives as long as its login.',
  link_expired: 'A mailed link works once, and for a limited time; a newer one for the same purpose may have ended it.',
  payload_too_large: 'The body has more bytes than any right one.',
  unsupported_media_type:
    'The `Content-Type` is not the one that the call takes, nearly always `application/json`, at introspection ' +
    '`application/x-www-form-urlencoded`; or the body is compressed or not in UTF-8.',
  invalid_code:
    'The code is not the one that was sent or shown, or the passkey does not prove what was asked. The try was counted before it ' +
    'was judged. It is not a `401`, because the token is good and the login goes on.',
  invalid_password:
    'The current password, asked for again in a session, is wrong. Five of these within a day end the session.',
  phone_unreachable: 'The provider says that this number cannot receive texts.',
  phone_not_allowed: 'The number belongs to a country, or is of a kind, that this service sends no texts to.',
  login_locked:
    'There were more than four wrong passwords for this e-mail, whether it has an account or not. The wait doubles with each, to an hour at ' +
    'most. Devices that have signed in before have a count of their own.',
  code_attempts_exhausted: 'One login takes five answers, over all its methods, and these are used up.',
  second_factor_locked:
    'There were too many wrong codes for this account, over several logins. Devices that have signed in before have a count of their own.',
  resend_too_soon: 'Between two codes to one user there has to be a pause.',
  sms_limit_reached:
    'This account, number, address or range of numbers has had as many texts as it may without signing in.',
  mail_limit_reached: 'This account has had as many mails as it may for now.',
  rate_limited: 'This address, its network, this client or this account asks faster than it may.',
  internal_error: 'A mistake of the service. What it was stands in its log, never in an answer.',
  sms_unavailable: 'The provider of texts is down, slow or refuses, or the service has used up what it may spend.',
  mail_unavailable: 'The mail server is down, slow or refuses, or the service has sent as many mails as it may.',
  busy: 'More passwords wait to be checked than the service has room for. The password was not looked at.',
  unavailable: 'The database is away. Nothing was decided that is not stored.',
}
