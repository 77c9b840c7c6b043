import Type from 'typebox'

export const ProblemPageSchema = Type.Object({
  type: Type.String({ format: 'uri', examples: ['https://login.example.com/problems/link_expired'] }),
  code: Type.String({ examples: ['link_expired'] }),
  title: Type.String({ examples: ['The link is not good any more'] }),
  status: Type.Integer({ examples: [410] }),
  cause: Type.String({
    description: 'Why a client meets it.',
    examples: ['A mailed link works once, and for a limited time.'],
  }),
  advice: Type.String({
    description: 'What a client does about it.',
    examples: ['Unknown, used or expired, which is not told apart. Ask for another mail.'],
  }),
  body: Type.Unsafe<Record<string, unknown>>({ $ref: 'Problem#', description: 'A document as a client gets it.' }),
})

export const ProblemParams = Type.Object({
  code: Type.String({ maxLength: 64, description: 'The `code` of a problem document.', examples: ['invalid_code'] }),
})

export type ProblemPage = Type.Static<typeof ProblemPageSchema>
