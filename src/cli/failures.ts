import { explainStartError } from '../console.ts'
import { Problem, problemCatalogue } from '../errors.ts'

/** The command line itself is wrong. */
export const usageError = (message: string): Error => Object.assign(new Error(message), { name: 'UsageError' })

/** The command was understood, and is not done. */
export const refusal = (message: string): Error => Object.assign(new Error(message), { name: 'Refusal' })

/** What the operator reads, and the exit code: 2 for a wrong command line, 1 for everything else. */
export function explainFailure(error: unknown): { message: string; exitCode: 1 | 2 } {
  if (error instanceof Problem) return { message: explainProblem(error), exitCode: 1 }
  const { name, message } = error as Error
  if (name === 'UsageError') return { message, exitCode: 2 }
  if (name === 'Refusal') return { message, exitCode: 1 }
  return { message: explainStartError(error, 'The command failed'), exitCode: 1 }
}

function explainProblem({ code, extras }: Problem): string {
  const mistakes = extras.errors?.map(({ pointer, message }) => `${pointer.slice(1)} ${message}`).join('; ')
  return mistakes ?? extras.detail ?? problemCatalogue[code].title
}
