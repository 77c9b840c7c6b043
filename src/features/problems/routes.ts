import Type from 'typebox'
import { Problem, type ProblemCode, problemCatalogue } from '../../errors.ts'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'

const ProblemPageSchema = Type.Object({
  type: Type.String({ format: 'uri', examples: ['https://login.example.com/problems/invalid_code'] }),
  code: Type.String({ examples: ['invalid_code'] }),
  title: Type.String({ examples: ['The code is wrong'] }),
  status: Type.Integer({ examples: [422] }),
  advice: Type.String({
    description: 'What a client does about it.',
    examples: ['Let the user try again while `attempts_remaining` is above 0.'],
  }),
})

/** What `type` of a problem document points at. */
export function problemRoutes(app: App, { config }: Pick<Services, 'config'>): void {
  app.get(
    '/problems/:code',
    {
      config: { access: 'public', limits: ['default'], problems: ['not_found'] },
      schema: {
        operationId: 'readProblem',
        tags: ['problems'],
        summary: 'What a problem code means',
        description: 'Explains one problem code and what to do about it.',
        params: Type.Object({ code: Type.String({ maxLength: 64, examples: ['invalid_code'] }) }),
        response: { 200: ProblemPageSchema },
      },
    },
    async ({ params: { code } }) => {
      if (!Object.hasOwn(problemCatalogue, code)) throw new Problem('not_found')
      const { status, title, advice } = problemCatalogue[code as ProblemCode]
      return { type: `${config.publicUrl}/problems/${code}`, code, title, status, advice }
    },
  )
}
