import { Problem, type ProblemCode, type ProblemExtras, problemCatalogue } from './errors.ts'

/** The body of a problem document. */
export function problemBody(publicUrl: string, problem: Problem, instance: string): Record<string, unknown> {
  const { status, title, advice } = problemCatalogue[problem.code]
  const { detail = advice, retryAfter, attemptsRemaining, errors, scope, userId } = problem.extras
  return {
    type: `${publicUrl}/problems/${problem.code}`,
    title,
    status,
    detail,
    instance,
    code: problem.code,
    ...(retryAfter != null && { retry_after: retryAfter }),
    ...(attemptsRemaining !== undefined && { attempts_remaining: attemptsRemaining }),
    ...(errors && { errors }),
    ...(scope !== undefined && { scope }),
    ...(userId !== undefined && { user_id: userId }),
  }
}

/** As a client gets it, for whoever reads the documents. `field` is one that may be wrong in what is sent; else all of it is. */
export function exampleProblem(publicUrl: string, code: ProblemCode, field?: string): Record<string, unknown> {
  return problemBody(publicUrl, new Problem(code, exampleExtras(code, field)), '5b1d1c1e-3f6c-4a57-9d5e-0c7a4f1f2a3b')
}

function exampleExtras(code: ProblemCode, field?: string): ProblemExtras {
  const pointer = field === undefined ? '' : `/${field}`
  return {
    ...(saysWhen(code) && { retryAfter: 30 }),
    ...(code === 'invalid_code' && { attemptsRemaining: 4 }),
    ...(code === 'insufficient_scope' && { scope: 'users:write' }),
    ...(code === 'invalid_request' && { errors: [{ pointer, message: 'does not have the right form' }] }),
  }
}

/** Whether it says when to come back, in `retry_after` and in the header. */
export const saysWhen = (code: ProblemCode): boolean => [429, 503].includes(problemCatalogue[code].status)
