import Type from 'typebox'
import { oneOf, setting, text, whole } from './kinds.ts'
import { isPlainUrl } from './values.ts'

/** Who may have an account, with what password, and for how long it is kept after its user has left. */
export const accounts = {
  REGISTRATION: setting(Type.Optional(Type.Enum(['open', 'closed'])), {
    unset: 'open in development',
    description:
      'Whether people may register: `open`, or `closed`, where operators make users; required in production, closed without mail',
    wanted: 'one of open, closed',
  }),
  BREACHED_PASSWORDS: oneOf(
    'list',
    ['list', 'hibp'],
    'Passwords that are refused: `list` (built in), `hibp` (also asks Have I Been Pwned for the first five digits of the hash)',
  ),
  BREACHED_PASSWORDS_URL: text(
    'https://api.pwnedpasswords.com',
    'Where the range queries of BREACHED_PASSWORDS=hibp go; tests put a local server here',
    'an http or https address without credentials, query or fragment',
    isPlainUrl,
  ),
  ERASE_AFTER_DAYS: whole(
    7,
    1,
    365,
    'Days until the account of somebody who has left is erased; until then it can be had back',
  ),
}
