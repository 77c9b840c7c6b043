import type { Services } from '../../services.ts'
import { isoTime } from '../iso-time.ts'
import type { SessionList } from './schemas.ts'

/** The live sessions of a user, the one used last first; `sessionId` is the one that asks. */
export async function listSessions(
  { store }: Pick<Services, 'store'>,
  { userId, sessionId }: { userId: string; sessionId?: string },
): Promise<SessionList> {
  const sessions = await store.sessions.list(userId)
  return {
    sessions: sessions.map((session) => ({
      ...session,
      created_at: isoTime(session.created_at),
      last_used_at: isoTime(session.last_used_at),
      current: session.id === sessionId,
    })),
  }
}
