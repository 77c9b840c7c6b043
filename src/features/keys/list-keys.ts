import type { Services } from '../../services.ts'

/** The signing keys without their private half, oldest first, for operators. */
export async function listKeys({
  store,
}: Pick<Services, 'store'>): Promise<{ keys: { id: string; state: string; created_at: string }[] }> {
  const keys = await store.signingKeys.list()
  return { keys: keys.map(({ id, state, createdAt }) => ({ id, state, created_at: createdAt.toISOString() })) }
}
