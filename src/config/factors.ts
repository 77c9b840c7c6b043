import { matching, oneOf, optional, text } from './kinds.ts'
import { isDomain, isMethodList, isPasskeyOrigin, listOf } from './values.ts'

/** Which second factors there are, who needs one, and what they are shown and bound to. */
export const factors = {
  TWO_FACTOR: oneOf(
    'required',
    ['required', 'optional'],
    'Whether new users need a second factor: `required`, or `optional`, which asks those who have one',
  ),
  METHODS: text(
    'passkey,totp,sms',
    'Second factors that may be enrolled and used: passkey, totp, sms; email too, as a fallback. Recovery codes come along',
    'passkey, totp, sms and email, each at most once, with at least one of the first three',
    isMethodList,
  ),
  PASSKEY_RP_ID: optional(
    'host of APP_URL',
    'Domain that passkeys are bound to: they work on it and below it, and are lost when it changes',
    'a domain name without a port',
    isDomain,
  ),
  PASSKEY_ORIGINS: optional(
    'origin of APP_URL',
    'Origins that passkeys are used from: exact ones, and Android apps as `android:apk-key-hash:…`',
    'exact http or https origins, without a path or a slash at the end, and android:apk-key-hash: with 43 base64url characters',
    (value) => listOf(value).every(isPasskeyOrigin),
  ),
  TOTP_ISSUER: optional(
    'SMS_APP_NAME',
    'Name of the service in authenticator apps',
    '1 to 40 characters without colons and control characters',
    matching(/^[^\p{C}\p{Zl}\p{Zp}:]{1,40}$/u),
  ),
}
