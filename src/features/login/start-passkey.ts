import { Problem } from '../../errors.ts'
import { maxAttempts } from '../../security/challenge.ts'
import type { Services } from '../../services.ts'
import { signInOptions } from '../factors/passkey/index.ts'

/** What the holder of a passkey start is told; any passkey of this service can answer it. */
export function describePasskeyStart(services: Pick<Services, 'passkeys'>, challenge: Buffer) {
  return {
    challenge: {
      method: 'passkey' as const,
      public_key: signInOptions(services, challenge),
      attempts_remaining: maxAttempts,
    },
    methods: ['passkey' as const],
  }
}

/**
 * Begins a sign-in with a passkey alone, by whoever it will be. Nothing is stored before it succeeds. Throws `invalid_request`
 * where METHODS does not list passkeys.
 */
export function startPasskey(
  services: Pick<Services, 'passkeys' | 'tokens' | 'deviceTokens' | 'config'>,
  start: { rememberMe: boolean; returnTo: string | undefined; deviceToken: string | undefined },
) {
  const { tokens, deviceTokens, config } = services
  if (!config.methods.includes('passkey'))
    throw new Problem('invalid_request', { detail: 'Passkeys are not used here.' })
  const { deviceToken, ...carried } = start
  const { challenge, token } = tokens.passkeyStart({ ...carried, device: deviceTokens.read(deviceToken) })
  return { status: '2fa_required' as const, ...token, ...describePasskeyStart(services, challenge) }
}
