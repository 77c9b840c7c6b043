import type { Services } from '../../services.ts'
import type { TwoFactor } from '../../store/accounts.ts'

type ListedAccount = {
  id: string
  email: string
  phone: string
  two_factor: TwoFactor
  disabled: boolean
  created_at: string
}

/** The first `limit` users, oldest first, for operators. */
export async function listAccounts(
  { store }: Pick<Services, 'store'>,
  limit: number,
): Promise<{ users: ListedAccount[] }> {
  const accounts = await store.accounts.list(limit)
  const users = accounts.map(({ createdAt, ...account }) => ({
    ...account,
    created_at: createdAt.toISOString(),
  }))
  return { users }
}
