import { Problem, type ProblemCode, problemCatalogue } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { ProblemPage } from './schemas.ts'

/** What a problem code means and what to do about it. Throws `not_found` for a code that is none. */
export function explainProblem({ config }: Pick<Services, 'config'>, code: string): ProblemPage {
  if (!Object.hasOwn(problemCatalogue, code)) throw new Problem('not_found')
  const { status, title, advice } = problemCatalogue[code as ProblemCode]
  return { type: `${config.publicUrl}/problems/${code}`, code, title, status, advice }
}
