import { Problem, type ProblemCode, problemCatalogue } from '../../errors.ts'
import { exampleProblem } from '../../problem-body.ts'
import type { Services } from '../../services.ts'
import { causes } from './causes.ts'
import type { ProblemPage } from './schemas.ts'

/** What a problem code means, why it comes and what to do about it. Throws `not_found` for a code that is none. */
export function explainProblem({ config }: Pick<Services, 'config'>, code: string): ProblemPage {
  if (!isProblemCode(code)) throw new Problem('not_found')
  const { status, title, advice } = problemCatalogue[code]
  const type = `${config.publicUrl}/problems/${code}`
  return {
    type,
    code,
    title,
    status,
    cause: causes[code],
    advice,
    body: exampleProblem(config.publicUrl, code, 'email'),
  }
}

const isProblemCode = (code: string): code is ProblemCode => Object.hasOwn(problemCatalogue, code)
