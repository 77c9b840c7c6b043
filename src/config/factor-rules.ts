import { listsPasskeys, type Rules, rule } from './rule.ts'
import { passkeyOf, type Values } from './schema.ts'
import { isAndroidApp, isAtOrBelow, isDomain, isHttps, listOf } from './values.ts'

/** Whether anything is made from the address of the application's pages that nothing else says. */
function needsAppUrl(values: Values): boolean {
  const saysPasskeys = values.PASSKEY_RP_ID !== undefined && values.PASSKEY_ORIGINS !== undefined
  return values.MAIL_PROVIDER !== 'none' || (listsPasskeys(values) && !saysPasskeys)
}

/** Where it is missing that is told, and nothing follows from what stands in for it. */
const knowsPages = (values: Values): boolean =>
  values.NODE_ENV !== 'production' || values.APP_URL !== undefined || !needsAppUrl(values)

/** Rules about the application's pages and the passkeys that are used on them. */
export const factorRules: Rules = {
  always: [
    rule(
      ['PASSKEY_RP_ID', 'PASSKEY_ORIGINS', 'APP_URL', 'PUBLIC_URL', 'METHODS', 'MAIL_PROVIDER', 'NODE_ENV'],
      'must be the host, or a domain above it, of each of PASSKEY_ORIGINS (both are those of APP_URL unless set)',
      (values) => {
        if (!listsPasskeys(values) || !knowsPages(values)) return true
        const { rpId, origins } = passkeyOf(values)
        const pages = origins.filter((it) => !isAndroidApp(it))
        return pages.every((origin) => isAtOrBelow(new URL(origin).hostname, rpId))
      },
    ),
  ],
  inDevelopment: [],
  inProduction: [
    rule(
      ['APP_URL', 'MAIL_PROVIDER', 'METHODS', 'PASSKEY_RP_ID', 'PASSKEY_ORIGINS'],
      'is required in production, unless MAIL_PROVIDER=none and passkeys are not listed or have their own settings',
      (values) => values.APP_URL !== undefined || !needsAppUrl(values),
    ),
    rule(['APP_URL'], 'must be https in production', ({ APP_URL }) => !APP_URL || isHttps(APP_URL)),
    rule(
      ['PASSKEY_RP_ID', 'APP_URL', 'PUBLIC_URL', 'METHODS', 'MAIL_PROVIDER', 'PASSKEY_ORIGINS'],
      'or the host of APP_URL must be a domain name for passkeys, not an IP address',
      (values) => !listsPasskeys(values) || !knowsPages(values) || isDomain(passkeyOf(values).rpId),
    ),
    rule(
      ['PASSKEY_ORIGINS'],
      'must be https in production, or Android apps',
      ({ PASSKEY_ORIGINS: origins }) => !origins || listOf(origins).every((it) => isAndroidApp(it) || isHttps(it)),
    ),
  ],
}
