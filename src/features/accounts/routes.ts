import Type from 'typebox'
import type { Services } from '../../services.ts'
import type { App } from '../app-type.ts'
import { sessionOf } from '../request.ts'

const MeSchema = Type.Object({
  id: Type.String({ format: 'uuid', examples: ['6f1c1f5e-7a52-4d3a-9a39-0a1f2b3c4d5e'] }),
  email: Type.String({ examples: ['ada@example.com'] }),
  phone: Type.String({ description: 'Masked.', examples: ['+44 •••••••• 23'] }),
  two_factor_enabled: Type.Boolean(),
  amr: Type.Array(Type.String(), { examples: [['pwd', 'sms', 'mfa']] }),
  acr: Type.String({ examples: ['aal2'] }),
  auth_time: Type.Integer({
    description: 'When the session was authenticated, in seconds since 1970.',
    examples: [1_893_553_445],
  }),
})

/** What a signed-in user may see of the account. */
export function accountRoutes(app: App, { phoneNumbers }: Pick<Services, 'phoneNumbers'>): void {
  app.get(
    '/me',
    {
      config: { access: 'access', limits: ['default'], problems: [] },
      schema: {
        operationId: 'readMe',
        tags: ['account'],
        summary: 'The signed-in user',
        description: 'The account and how this session was authenticated.',
        response: { 200: MeSchema },
      },
    },
    async (request) => {
      const session = sessionOf(request)
      return {
        id: session.user_id,
        email: session.email,
        phone: phoneNumbers.mask(session.phone),
        two_factor_enabled: session.two_factor !== 'off',
        amr: session.amr,
        acr: session.acr,
        auth_time: session.authenticated_at,
      }
    },
  )
}
