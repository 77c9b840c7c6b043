import { invalidField, type ProblemCode } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { ChallengeAnswerSchema } from '../factors/challenge-schemas.ts'
import { sendProblems } from '../factors/send-problems.ts'
import { callerOf, challengeOf, pendingOf } from '../request.ts'
import { challengeStatus } from './challenge-status.ts'
import { finishLogin } from './finish-login.ts'
import { finishPasskey } from './finish-passkey.ts'
import { resendCode } from './resend-code.ts'
import { FinishAnswerSchema, ProofBody, ResendBody, SwitchBody } from './schemas.ts'
import { switchMethod } from './switch-method.ts'

const sendingProblems: ProblemCode[] = ['second_factor_locked', 'code_attempts_exhausted', ...sendProblems]

/** What a pending token opens. */
export function challengeRoutes(app: App, services: Services): void {
  finishLoginRoute(app, services)
  resendCodeRoute(app, services)
  switchMethodRoute(app, services)
  challengeStatusRoute(app, services)
}

function finishLoginRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'finishLogin',
    tags: ['login'],
    summary: 'Second step: the code or the passkey',
    description:
      'Exchanges the pending token and a proof for an access token. A login takes five answers, over all methods, and one ' +
      'success. After the proof of a mailbox the answer is a token to set up the first factor with.',
    body: ProofBody,
    response: { 200: FinishAnswerSchema },
  }
  app.post(
    '/login/2fa',
    {
      config: {
        access: 'pending',
        purposes: ['login', 'step_up', 'enrol', 'passkey'],
        limits: ['verifyMinute'],
        problems: [
          ...(['code_expired', 'invalid_code', 'code_attempts_exhausted', 'second_factor_locked', 'conflict'] as const),
          'invalid_credentials',
        ],
      },
      schema,
    },
    async (request) => {
      const { code, credential, method, trust_device: trustDevice = false, device_name: deviceName } = request.body
      const step = { code, credential, method, trustDevice, deviceName, caller: callerOf(request) }
      const pending = pendingOf(request)
      if (pending.pur !== 'passkey') return finishLogin(services, pending, step)
      if (code !== undefined) throw invalidField('/code', 'is not what this sign-in is finished with')
      if (credential === undefined) throw invalidField('/credential', 'is missing')
      if (method !== undefined && method !== 'passkey') throw invalidField('/method', 'is not how this sign-in began')
      return finishPasskey(services, pending, step)
    },
  )
}

function resendCodeRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'resendCode',
    tags: ['login'],
    summary: 'Send the code again',
    description:
      'Sends the same code again: at most three times in all per login and method. Tries that were used stay used.',
    body: ResendBody,
    response: { 200: ChallengeAnswerSchema },
  }
  app.post(
    '/login/2fa/resend',
    { bodyLimit: 4_096, config: { access: 'pending', limits: ['resendHour'], problems: sendingProblems }, schema },
    async (request) =>
      resendCode(services, challengeOf(request), { channel: request.body.channel, caller: callerOf(request) }),
  )
}

function switchMethodRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'switchMethod',
    tags: ['login'],
    summary: 'Go on with another method',
    description:
      'One of `methods`, in the same login, with the tries that are left. Sends what is to be sent; a code that was sent before ' +
      'stays good.',
    body: SwitchBody,
    response: { 200: ChallengeAnswerSchema },
  }
  app.post(
    '/login/2fa/method',
    { bodyLimit: 4_096, config: { access: 'pending', limits: ['default'], problems: sendingProblems }, schema },
    async (request) => {
      const onSending = async (): Promise<void> => request.chargeAlso?.('resendHour')
      const { method } = request.body
      return switchMethod(services, challengeOf(request), { method, caller: callerOf(request), onSending })
    },
  )
}

function challengeStatusRoute(app: App, services: Services): void {
  const schema = {
    operationId: 'readChallenge',
    tags: ['login'],
    summary: 'How the login stands',
    description: 'Delivery of what was sent, the time and tries that are left, and in an enrolment its `setup` again.',
    response: { 200: ChallengeAnswerSchema },
  }
  app.get(
    '/login/2fa',
    {
      config: {
        access: 'pending',
        purposes: ['login', 'step_up', 'enrol', 'must_enrol', 'passkey'],
        limits: ['default'],
        problems: [],
      },
      schema,
    },
    async (request) => challengeStatus(services, pendingOf(request), callerOf(request)),
  )
}
