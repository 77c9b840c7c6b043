import Type from 'typebox'

/**
 * Of a user that a backend makes as of one that is imported: no control characters, no lone surrogates. Written so that it means
 * the same where a pair of surrogates counts as one character and where it counts as two.
 */
export const externalId = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: '^([^\\u0000-\\u001f\\u007f-\\u009f\\ud800-\\udfff]|[\\ud800-\\udbff][\\udc00-\\udfff]){1,255}$',
  description: 'What your system calls the user, without control characters; no two users have the same.',
  examples: ['customer-4711'],
})
