import type { Factor } from '../factor.ts'

/** A code on paper, for whoever has lost everything else; each works once. */
export const recoveryCode: Factor = {
  method: 'recovery_code',
  traits: {
    ...{ judged_by: 'recovery', guarded: false, sends: null, any_time: true, may_trust: false },
    ...{ steps_up: true, tells: false, at_most: 1, amr: ['pwd', 'rcv', 'mfa'], acr: 'aal2' },
  },
  // They are made at once, not proven: renew-recovery-codes.ts.
  setUp: null,
  message: null,
  send: null,
  describe: (_services, _context, { attempts_remaining }) => ({ method: 'recovery_code', attempts_remaining }),

  read: ({ recoveryCodes }, { userId }, { code }) => {
    const read = code === undefined ? null : recoveryCodes.read(code)
    return read === null ? null : recoveryCodes.macs(userId, read)
  },

  form: () => ({ pointer: '/code', message: 'must be the 24 characters of a recovery code' }),
  judge: null,
  view: () => ({}),
}
