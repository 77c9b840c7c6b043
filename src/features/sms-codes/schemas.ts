import Type from 'typebox'

/** Of an HMAC-SHA-1 in Base64. */
export const signatureLength = 28

export const ReceiptHeaders = Type.Object({
  'x-twilio-signature': Type.String({
    maxLength: signatureLength,
    description: 'HMAC-SHA-1 under the auth token, in Base64.',
    examples: ['c5sXfGxXvLcYxvnHlYXbPUNXf4s='],
  }),
})

export const ReceiptBody = Type.Record(Type.String(), Type.String({ maxLength: 1_024 }), {
  examples: [{ MessageSid: 'SM0123456789abcdef0123456789abcdef', MessageStatus: 'delivered' }],
})
