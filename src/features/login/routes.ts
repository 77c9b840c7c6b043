import type { ProblemCode } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { namedSchemas } from '../factors/challenge-schemas.ts'
import { traits } from '../factors/index.ts'
import { sendProblems, textProblems } from '../factors/send-problems.ts'
import { callerOf, sessionOf } from '../request.ts'
import { AuthenticatedSchema } from '../sessions/schemas.ts'
import { challengeRoutes } from './challenge-routes.ts'
import {
  LoginAnswerSchema,
  LoginBody,
  PasskeyStartBody,
  StepUpAnswerSchema,
  StepUpBody,
  TwoFactorRequiredRef,
} from './schemas.ts'
import { startLogin } from './start-login.ts'
import { startPasskey } from './start-passkey.ts'
import { stepUp } from './step-up.ts'

const startProblems: ProblemCode[] = [
  ...(['invalid_credentials', 'password_reset_required', 'login_locked', 'second_factor_locked'] as const),
  ...sendProblems,
  'busy',
]

/** A mail proves nothing that a session needs. */
const stepUpProblems: ProblemCode[] = ['invalid_password', 'second_factor_locked', ...textProblems, 'busy']

/** The two steps of a login, and what lies between them. */
export function loginRoutes(app: App, services: Services): void {
  for (const schema of namedSchemas) app.addSchema(schema)
  app.addSchema(AuthenticatedSchema)

  startLoginRoute(app, services)
  startPasskeyRoute(app, services)
  challengeRoutes(app, services)
  stepUpRoute(app, services)
}

function startLoginRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'startLogin',
    tags: ['login'],
    summary: 'First step: e-mail and password',
    description:
      'Asks for the best second factor that the account has, and returns a pending token; or the tokens at once where none is ' +
      'asked; or, where one has to be set up first, a token for that. ' +
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
        challenges: ({ setup }) => setup === undefined,
        problems: startProblems,
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

function startPasskeyRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'startPasskeyLogin',
    tags: ['login'],
    summary: 'Sign in with a passkey alone',
    description:
      'What any passkey of this service can answer, at `POST /login/2fa`: it stands for both factors, so it has to verify its ' +
      'user. Nothing is stored before that succeeds, once for each start.',
    body: PasskeyStartBody,
    response: { 200: TwoFactorRequiredRef },
  }
  app.post(
    '/login/passkey',
    {
      bodyLimit: 4_096,
      config: {
        access: 'public',
        limits: ['default'],
        mayShowDevice: true,
        challenges: ({ method, setup }) => method === 'passkey' && setup === undefined,
        problems: [],
      },
      schema,
    },
    async (request) => {
      const { remember_me: rememberMe = false, return_to: returnTo, device_token: deviceToken } = request.body
      return startPasskey(services, { rememberMe, returnTo, deviceToken })
    },
  )
}

function stepUpRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'stepUp',
    tags: ['login'],
    summary: 'A fresh proof for a session that needs more',
    description:
      'For a signed-in user whose token is too old or too weak for a call (RFC 9470). Finishing it at `POST /login/2fa` gives the ' +
      'same session a new `auth_time` and `aal2`. An account without a second factor sends its password.',
    body: StepUpBody,
    response: { 200: StepUpAnswerSchema },
  }
  app.post(
    '/login/step-up',
    {
      bodyLimit: 4_096,
      config: {
        access: 'access',
        limits: ['default'],
        challenges: ({ method, setup }) => traits[method].steps_up && setup === undefined,
        problems: stepUpProblems,
      },
      schema,
    },
    async (request) => {
      const { method, password } = request.body
      return stepUp(services, sessionOf(request), { method, password, caller: callerOf(request) })
    },
  )
}
