import { Problem } from '../../errors.ts'
import { createAccount } from './create-account.ts'

const demoUser = { email: 'ada@example.com', phone: '+12025550123', password: 'correct horse battery staple' }

/**
 * Makes the user of the first steps, for development only. Returns what signs in as that user, with a text, or null where
 * the settings do not allow such a user (its country, for one).
 */
export async function createDemoUser(
  services: Parameters<typeof createAccount>[0],
): Promise<{ email: string; password: string } | null> {
  const { email, password } = demoUser
  if (!services.config.methods.includes('sms')) return null
  try {
    if ((await services.store.accounts.findByEmail(email)) === null) {
      await createAccount(services, { ...demoUser, twoFactor: 'required' })
    }
    return { email, password }
  } catch (error) {
    if (error instanceof Problem) return null
    throw error
  }
}
