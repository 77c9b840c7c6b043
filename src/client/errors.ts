import type { components } from './api.ts'
import { readStepUpChallenge, type StepUpChallenge } from './step-up.ts'

type Problem = components['schemas']['Problem']

/**
 * What went wrong: a code of the service (`GET /problems/{code}` explains each), or one of the client's own:
 * `network`: no answer, or one that is not the service's (a proxy, a captive portal; then `status` is its). Nothing is
 * known of what became of the request. `signed_out`: there is no session here, or not that of the call any more. `storage`:
 * what is kept cannot be read or written.
 */
export type ErrorCode = Problem['code'] | 'network' | 'signed_out' | 'storage'

type Facts = { code: ErrorCode; message: string; response?: Response; problem?: Partial<Problem>; cause?: unknown }

/** The one error that the client throws. */
export class DoorstepError extends Error {
  override readonly name = 'DoorstepError'
  readonly code: ErrorCode
  /** Of HTTP; 0 where there was no answer. */
  readonly status: number
  /** Seconds after which the same may be tried again. */
  readonly retryAfter: number | undefined
  /** Tries that this login has left. */
  readonly attemptsRemaining: number | undefined
  /** What is wrong with which field: JSON pointers into the body. */
  readonly errors: Problem['errors']
  /** Finds the log lines of the request. */
  readonly requestId: string | undefined
  /** With `insufficient_user_authentication`: what would be enough. */
  readonly challenge: StepUpChallenge | undefined

  constructor({ code, message, response, problem, cause }: Facts) {
    super(message, { cause })
    this.code = code
    this.status = response?.status ?? 0
    this.retryAfter = problem ? problem.retry_after : secondsOf(response)
    this.attemptsRemaining = problem?.attempts_remaining
    this.errors = problem?.errors
    this.requestId = problem?.instance
    this.challenge = response && readStepUpChallenge(response)
  }
}

/** What something in front of the service says of when to try again; where that is a date it is left out. */
function secondsOf(response: Response | undefined): number | undefined {
  const text = response?.headers.get('retry-after') ?? ''
  return /^\d+$/.test(text) ? Number(text) : undefined
}

export const signedOut = (): DoorstepError => new DoorstepError({ code: 'signed_out', message: 'Nobody is signed in.' })

/** No answer came. `cause`: what `fetch` threw. */
export const unreachable = (cause: unknown): DoorstepError =>
  new DoorstepError({ code: 'network', message: 'The service cannot be reached.', cause })

/** The storage has failed. `cause`: what it threw. */
export const unkept = (cause: unknown): DoorstepError =>
  new DoorstepError({ code: 'storage', message: 'The storage of the session has failed.', cause })

/** An answer that is not the one which was asked for. `body`: as it was parsed. */
export function problemOf(response: Response, body: unknown): DoorstepError {
  const problem = body as Partial<Problem> | undefined
  return typeof problem?.code === 'string' && problem.status === response.status
    ? new DoorstepError({ code: problem.code, message: problem.detail ?? problem.code, response, problem })
    : new DoorstepError({ code: 'network', message: 'Something else has answered in place of the service.', response })
}
