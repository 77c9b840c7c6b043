import type { Services } from '../../services.ts'
import type { SessionList } from './schemas.ts'

/** The live sessions of a user, the one used last first; `sessionId` is the one that asks. */
export async function listSessions(
  { store }: Pick<Services, 'store'>,
  { userId, sessionId }: { userId: string; sessionId?: string },
): Promise<SessionList> {
  const sessions = await store.sessions.list(userId)
  return {
    sessions: sessions.map((session) => ({
      id: session.id,
      created_at: session.createdAt.toISOString(),
      last_used_at: session.lastUsedAt.toISOString(),
      user_agent: session.userAgent,
      address: session.address,
      current: session.id === sessionId,
    })),
  }
}
