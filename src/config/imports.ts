import { secret } from './kinds.ts'
import { bytesOf } from './values.ts'

const holdsBytes =
  (least: number, most: number) =>
  (value: string): boolean => {
    const { length = 0 } = bytesOf(value) ?? {}
    return length >= least && length <= most
  }

/** What it takes to read the hashes that users bring along from another system. */
export const imports = {
  IMPORT_FIREBASE_SIGNER_KEY: secret(
    '',
    'For users who come from Firebase, until each has signed in: `base64_signer_key` of its password hash parameters',
    '16 to 64 bytes in base64',
    holdsBytes(16, 64),
  ),
  IMPORT_FIREBASE_SALT_SEPARATOR: secret(
    '',
    '`base64_salt_separator` of the same; set together with the key',
    '1 to 64 bytes in base64',
    holdsBytes(1, 64),
  ),
}
