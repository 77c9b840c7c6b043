import { DoorstepError } from './errors.ts'
import type { Flow } from './flow.ts'
import { type Ask, ask } from './requests.ts'
import type * as Api from './types.ts'

const finish =
  ({ begin }: Flow) =>
  (login: Api.Pending, proof: Api.Proof): Promise<Api.FinishAnswer> =>
    begin(ask('post', '/login/2fa', proof), login)

/** The steps of a login, of a step-up, and of an enrolment once it is begun. `status` says how it goes on. */
export function createLogin(flow: Flow) {
  const { open, begin, renew, withDevice } = flow
  return {
    /** E-mail and password. What comes back is for `finish`, for `factors.add`, or done. */
    signIn: async (credentials: Api.Credentials): Promise<Api.LoginAnswer> =>
      begin(ask('post', '/login', await withDevice(credentials))),

    /** A passkey alone; `finish` takes its credential. */
    signInWithPasskey: async (request: Api.PasskeyStart = {}): Promise<Api.TwoFactorRequired> =>
      open(ask('post', '/login/passkey', await withDevice(request))),

    /** The code or the credential: of a login, a step-up or an enrolment. */
    finish: finish(flow),

    /** The same code once more. */
    resend: (login: Api.Pending): Promise<Api.ChallengeStatus> => open(ask('post', '/login/2fa/resend', {}), login),

    /** Goes on with another of `methods`. */
    switchMethod: (login: Api.Pending, method: Api.Method): Promise<Api.ChallengeStatus> =>
      open(ask('post', '/login/2fa/method', { method }), login),

    /** How the login stands; also after the page was loaded anew, when the application has kept `pending_token`. */
    challengeStatus: (login: Api.Pending): Promise<Api.ChallengeStatus> => open(ask('get', '/login/2fa'), login),

    /** Begins a fresh proof for this session; with `password` where the account has no second factor. */
    stepUp: (request: Api.StepUpRequest = {}): Promise<Api.StepUpAnswer> =>
      renew(ask('post', '/login/step-up', request)),
  }
}

/** The ways to a password, and out. */
export function createDoors({ open, begin, signed, withDevice, current, forget }: Flow) {
  return {
    /** Mails a link that registers. The answer is the same whether the address has an account or not. */
    register: async (request: Api.MailRequest): Promise<Api.MailSent> =>
      open(ask('post', '/register', await withDevice(request))),

    /** Mails a link to a new password. The answer is the same whether the address has an account or not. */
    forgotPassword: async (request: Api.MailRequest): Promise<Api.MailSent> =>
      open(ask('post', '/password/forgot', await withDevice(request))),

    /** With the token of either link (what follows `#token=`); goes on as `signIn` does. */
    setPassword: async (request: Api.NewPassword): Promise<Api.SetPasswordAnswer> =>
      begin(ask('post', '/password/set', await withDevice(request))),

    /** With the token of a not-me link: undoes what somebody else did to the account. */
    secureAccount: (token: string): Promise<Api.AccountSecured> => open(ask('post', '/account/secure', { token })),

    /**
     * Ends this session, the others or all (these two are *fresh*). This client forgets its own, when `local` also if the
     * service could not be told; that is thrown all the same. The device token stays.
     */
    signOut: async (scope: Api.LogoutScope = 'local'): Promise<void> => {
      const mine = await current()
      try {
        await signed(ask('post', '/logout', { scope }))
      } catch (error) {
        if (scope !== 'local') throw error
        await forget(mine)
        if (error instanceof DoorstepError && ['signed_out', 'invalid_token'].includes(error.code)) return
        throw error
      }
      if (scope !== 'others') await forget(mine)
    },
  }
}

/** What proves more than a password does. */
export function createFactors(flow: Flow) {
  const { open, signed } = flow
  return {
    list: (): Promise<Api.FactorList> => signed(ask('get', '/factors')),

    /**
     * Begins to set one up; `confirm` ends it. *Fresh*, or with the `login` that answered `2fa_enrolment_required`. A
     * method that one has already is replaced (passkeys: one more).
     */
    add: (factor: Api.NewFactor, login?: Api.Pending): Promise<Api.TwoFactorRequired> => {
      const asked = ask('post', '/factors', factor) as Ask<Api.TwoFactorRequired>
      return login ? open(asked, login) : signed(asked)
    },

    /** The first proof of the new factor: the same call as `finish`. */
    confirm: finish(flow),

    rename: (id: string, name: string): Promise<Api.Factor> => signed(ask('patch', '/factors/{id}', { name }, id)),

    /** *Fresh*. */
    remove: (id: string): Promise<void> => signed(ask('delete', '/factors/{id}', undefined, id)),

    /** *Fresh*. Ten new ones, shown once; the old ones are dead. */
    renewRecoveryCodes: (): Promise<Api.RecoveryCodesIssued> =>
      signed(ask('post', '/factors', { method: 'recovery_code' }) as Ask<Api.RecoveryCodesIssued>),
  }
}
