import type { Services } from '../../services.ts'

type ListedKey = { id: string; state: 'next' | 'active' | 'retired'; created_at: string; active_at: string }

/** The signing keys without their private half, newest first, for operators. */
export async function listKeys({ store }: Pick<Services, 'store'>): Promise<{ keys: ListedKey[] }> {
  const keys = await store.signingKeys.list()
  const active = keys.find(({ activeIn }) => activeIn <= 0)
  return {
    keys: keys.map((key) => ({
      id: key.id,
      state: key === active ? 'active' : key.activeIn > 0 ? 'next' : 'retired',
      created_at: key.createdAt.toISOString(),
      active_at: key.activeAt.toISOString(),
    })),
  }
}
