import { differIn } from './access-token.ts'
import { answerOf, type Repeat, type Send } from './calls.ts'
import { signedOut } from './errors.ts'
import type { Keeper } from './keeper.ts'
import type { Ask } from './requests.ts'
import type { Pending } from './types.ts'
import { isSession } from './vault.ts'

type Parts = { send: Send; keeper: Keeper; repeat: Repeat }
type Answer = { status: string }

/** Whether it ends a login, or says how to go on with it. */
const isStep = (answer: unknown): boolean => {
  const { status, pending_token } = Object(answer)
  return isSession(answer) || typeof pending_token === 'string' || status === 'password_set'
}

export type Flow = ReturnType<typeof createFlow>

/**
 * The four ways to call: `open` with nothing or a pending token, `signed` with the access token; and both for calls whose
 * answer may bring the tokens of a session (`begin`, `renew`), which are kept before anybody else can use the old ones.
 */
export function createFlow({ send, keeper, repeat }: Parts) {
  const open = async <T>(asked: Ask<T>, login?: Pending, isOurs?: (body: unknown) => boolean): Promise<T> =>
    answerOf(await send(asked, login?.pending_token), isOurs)

  return {
    open,
    begin: <T extends Answer>(asked: Ask<T>, login?: Pending): Promise<T> =>
      keeper.exclusive(async () => {
        const answer = await open(asked, login, isStep)
        await keeper.keep(answer)
        return answer
      }),

    signed: async <T>(asked: Ask<T>): Promise<T> => answerOf(await repeat((token) => send(asked, token))),
    renew: async <T extends Answer>(asked: Ask<T>): Promise<T> => {
      const attempt = (token: string) =>
        keeper.exclusive(async () => {
          const kept = await keeper.current()
          if (kept === undefined || differIn('sid', token, kept)) throw signedOut()
          const reply = await send(asked, token)
          if (reply.response.ok) await keeper.replace(reply.body)
          return reply
        })
      return answerOf(await repeat(attempt), isStep)
    },

    /** A body with what this client has been known by before. */
    withDevice: async <T extends object>(body: T) => ({ ...body, ...(await keeper.device()) }),
    /** Names the session of this moment; `forget` forgets that one alone. */
    current: keeper.current,
    forget: keeper.end,
  }
}
