import Type from 'typebox'

export const ProblemPageSchema = Type.Object({
  type: Type.String({ format: 'uri', examples: ['https://login.example.com/problems/invalid_code'] }),
  code: Type.String({ examples: ['invalid_code'] }),
  title: Type.String({ examples: ['The code or passkey is wrong'] }),
  status: Type.Integer({ examples: [422] }),
  advice: Type.String({
    description: 'What a client does about it.',
    examples: ['Let the user try again while `attempts_remaining` is above 0.'],
  }),
})

export const ProblemParams = Type.Object({ code: Type.String({ maxLength: 64, examples: ['invalid_code'] }) })

export type ProblemPage = Type.Static<typeof ProblemPageSchema>
