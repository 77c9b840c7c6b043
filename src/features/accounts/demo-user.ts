import type { Services } from '../../services.ts'

const demoUser = { email: 'ada@example.com', phone: '+12025550123', password: 'correct horse battery staple' }

/** Makes the user of the first steps, for development only. Returns what signs in as that user. */
export async function createDemoUser({
  store,
  passwordHash,
}: Pick<Services, 'store' | 'passwordHash'>): Promise<{ email: string; password: string }> {
  const { email, phone, password } = demoUser
  if ((await store.accounts.findByEmail(email)) === null) {
    await store.accounts.create(
      { email, phone, passwordHash: await passwordHash.hash(password), twoFactor: 'sms' },
      { type: 'user.created', outcome: 'demo' },
    )
  }
  return { email, password }
}
