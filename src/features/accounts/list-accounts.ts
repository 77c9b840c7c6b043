import { type Method, methodNames } from '../../methods.ts'
import type { Services } from '../../services.ts'
import type { AccountSummary } from '../../store/accounts.ts'
import { isoTime } from '../iso-time.ts'

type ListedAccount = Omit<AccountSummary, 'methods' | 'created_at'> & { methods: Method[]; created_at: string }

/** The first `limit` users, oldest first, for operators: the factors they have, whether METHODS lists them or not. */
export async function listAccounts(
  { store }: Pick<Services, 'store'>,
  limit: number,
): Promise<{ users: ListedAccount[] }> {
  const accounts = await store.accounts.list(limit)
  const users = accounts.map(({ created_at, methods, ...account }) => ({
    ...account,
    methods: methodNames.filter((it) => methods.includes(it)),
    created_at: isoTime(created_at),
  }))
  return { users }
}
