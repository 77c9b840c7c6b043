import { differIn } from './access-token.ts'
import { problemOf, signedOut, unreachable } from './errors.ts'
import { parsed } from './json.ts'
import type { Ask } from './requests.ts'
import { isTokenRefused, readStepUpChallenge, type StepUpChallenge } from './step-up.ts'

export type Fetch = (request: Request) => Promise<Response>
/** `body`: what is promised of a success; of anything else nothing is known. */
export type Reply<T> = { response: Response; body: T }
export type Send = ReturnType<typeof createSend>
export type Repeat = ReturnType<typeof createRepeat>

/**
 * Sends one request, with `token` if there is one, and waits `timeoutMs` at most for the whole of its reply. Throws
 * `network` when none comes.
 */
export const createSend =
  ({ baseUrl, fetch, timeoutMs }: { baseUrl: string; fetch: Fetch; timeoutMs: number }) =>
  async <T>({ method, path, body }: Ask<T>, token?: string): Promise<Reply<T>> => {
    const ending = new AbortController()
    const timer = setTimeout(() => ending.abort(), timeoutMs)
    const headers: Record<string, string> = {}
    if (token !== undefined) headers.Authorization = `Bearer ${token}`
    if (body !== undefined) headers['Content-Type'] = 'application/json'
    const json = body === undefined ? null : JSON.stringify(body)
    try {
      const url = baseUrl.replace(/\/$/, '') + path
      const response = await fetch(new Request(url, { method, headers, body: json, signal: ending.signal }))
      return { response, body: parsed(await response.text()) as T }
    } catch (cause) {
      throw unreachable(cause)
    } finally {
      clearTimeout(timer)
    }
  }

/** What a success brought. Throws the problem that it was instead, or that it is none of the service (`isOurs`). */
export function answerOf<T>({ response, body }: Reply<T>, isOurs: (body: unknown) => boolean = isObject): T {
  if (!response.ok || !(response.status === 204 || isOurs(body))) throw problemOf(response, body)
  return body
}

const isObject = (body: unknown): boolean => typeof body === 'object' && body !== null

type Repeating = {
  access: (refused?: string) => Promise<string>
  onStepUp: ((challenge: StepUpChallenge) => Promise<boolean>) | undefined
}

/**
 * Sends with the access token, and once more where that helps: with a new token after it was refused, and after a step-up
 * where that was asked for and the application has seen to it. Many calls that ask at once cause one step-up. What was
 * asked by one person is never repeated for another, who has signed in meanwhile.
 */
export function createRepeat({ access, onStepUp }: Repeating) {
  let steppingUp: Promise<boolean> | undefined
  const stepUp = (challenge: StepUpChallenge): Promise<boolean> => {
    steppingUp ??= Promise.resolve(onStepUp?.(challenge) ?? false).finally(() => {
      steppingUp = undefined
    })
    return steppingUp
  }

  return async <T extends { response: Response }>(attempt: (token: string) => Promise<T>): Promise<T> => {
    let token = await access()
    const newest = async (refused?: string): Promise<string> => {
      const next = await access(refused)
      if (differIn('sub', token, next)) throw signedOut()
      return next
    }
    const again = async (next: string): Promise<T> => {
      token = next
      return attempt(token)
    }
    let reply = await attempt(token)
    if (isTokenRefused(reply.response)) reply = await again(await newest(token))
    // Another call, or another tab, may have stepped up since this one was sent.
    if (readStepUpChallenge(reply.response)) {
      const next = await newest()
      if (next !== token) reply = await again(next)
    }
    const challenge = readStepUpChallenge(reply.response)
    return challenge && (await stepUp(challenge)) ? again(await newest()) : reply
  }
}
