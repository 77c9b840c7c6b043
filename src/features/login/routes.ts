import type { ProblemCode } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { callerOf, pendingOf, sessionOf } from '../request.ts'
import { AuthenticatedRef, AuthenticatedSchema } from '../sessions/schemas.ts'
import { challengeStatus } from './challenge-status.ts'
import { finishLogin } from './finish-login.ts'
import { resendCode } from './resend-code.ts'
import {
  ChallengeAnswerSchema,
  CodeBody,
  LoginAnswerSchema,
  LoginBody,
  ResendBody,
  StepUpBody,
  TwoFactorRequiredSchema,
} from './schemas.ts'
import { startLogin } from './start-login.ts'
import { stepUp } from './step-up.ts'

/** What a text that is due may run into. */
const textProblems: ProblemCode[] = [
  'resend_too_soon',
  'sms_limit_reached',
  'phone_unreachable',
  'phone_not_allowed',
  'sms_unavailable',
]

/** The two steps of a login, and what lies between them. */
export function loginRoutes(app: App, services: Services): void {
  app.addSchema(TwoFactorRequiredSchema)
  app.addSchema(AuthenticatedSchema)

  startLoginRoute(app, services)
  finishLoginRoute(app, services)
  resendCodeRoute(app, services)
  stepUpRoute(app, services)
  challengeStatusRoute(app, services)
}

function startLoginRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'startLogin',
    tags: ['login'],
    summary: 'First step: e-mail and password',
    description:
      'Sends a code by SMS and returns a pending token, or the tokens at once where no second factor is asked. ' +
      'An unknown e-mail, a wrong password and a disabled account are not to be told apart.',
    body: LoginBody,
    response: { 200: LoginAnswerSchema },
  }
  app.post(
    '/login',
    {
      bodyLimit: 4_096,
      config: {
        access: 'public',
        limits: ['loginMinute', 'loginHour'],
        mayShowDevice: true,
        problems: ['invalid_credentials', 'login_locked', 'second_factor_locked', ...textProblems, 'busy'],
      },
      schema,
    },
    async (request) => {
      const {
        email,
        password,
        remember_me: rememberMe = false,
        return_to: returnTo,
        device_token: deviceToken,
      } = request.body
      const onProven = async (): Promise<void> => request.charge?.finish()
      const caller = callerOf(request)
      return startLogin(services, { email, password, rememberMe, returnTo, deviceToken, onProven, caller })
    },
  )
}

function finishLoginRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'finishLogin',
    tags: ['login'],
    summary: 'Second step: the code',
    description:
      'Exchanges the pending token and the code for an access token. A code is good for five tries and one success.',
    body: CodeBody,
    response: { 200: AuthenticatedRef },
  }
  app.post(
    '/login/2fa',
    {
      bodyLimit: 4_096,
      config: {
        access: 'pending',
        limits: ['verifyMinute'],
        problems: ['code_expired', 'invalid_code', 'code_attempts_exhausted', 'second_factor_locked'],
      },
      schema,
    },
    async (request) => {
      const { code, trust_device: trustDevice = false, device_name: deviceName } = request.body
      return finishLogin(services, pendingOf(request), { code, trustDevice, deviceName, caller: callerOf(request) })
    },
  )
}

function resendCodeRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'resendCode',
    tags: ['login'],
    summary: 'Send the code again',
    description: 'Sends the same code once more, at most three texts per login. Tries that were used stay used.',
    body: ResendBody,
    response: { 200: ChallengeAnswerSchema },
  }
  app.post(
    '/login/2fa/resend',
    {
      bodyLimit: 4_096,
      config: {
        access: 'pending',
        limits: ['resendHour'],
        problems: [...textProblems, 'code_attempts_exhausted', 'second_factor_locked'],
      },
      schema,
    },
    async (request) => resendCode(services, pendingOf(request), { caller: callerOf(request) }),
  )
}

function stepUpRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'stepUp',
    tags: ['login'],
    summary: 'A fresh code for a session that needs more',
    description:
      'For a signed-in user whose token is too old or too weak for a call (RFC 9470). Finishing it at `POST /login/2fa` gives the ' +
      'same session a new `auth_time` and `aal2`.',
    body: StepUpBody,
    response: { 200: TwoFactorRequiredSchema },
  }
  app.post(
    '/login/step-up',
    {
      bodyLimit: 4_096,
      config: {
        access: 'access',
        limits: ['loginMinute', 'loginHour'],
        problems: ['second_factor_locked', ...textProblems],
      },
      schema,
    },
    async (request) => stepUp(services, { session: sessionOf(request), caller: callerOf(request) }),
  )
}

function challengeStatusRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'readChallenge',
    tags: ['login'],
    summary: 'How the login stands',
    description: 'Delivery of the text, and the time and tries that are left.',
    response: { 200: ChallengeAnswerSchema },
  }
  app.get('/login/2fa', { config: { access: 'pending', limits: ['default'], problems: [] }, schema }, async (request) =>
    challengeStatus(services, pendingOf(request)),
  )
}
