import type { Fetch, Repeat } from './calls.ts'

type Parts = { origins: readonly string[]; fetch: Fetch; repeat: Repeat }

/** Scheme, host and port, as a URL begins with them. */
const form = /^[a-z][a-z0-9+.-]*:\/\/[^/?#\\@\sA-Z]+$/

/**
 * `fetch` for the application's own API: with the access token, refreshed when it is refused, and repeated after a
 * step-up. Rejects for every origin that was not named, before anything is sent. A redirect to another origin goes
 * without the token (that is fetch's own rule).
 *
 * An API on another origin has to expose `WWW-Authenticate` (CORS), or no page can read why it refused.
 */
export function createAuthorizedFetch({ origins, fetch, repeat }: Parts) {
  for (const origin of origins) {
    if (!form.test(origin)) throw new TypeError(`An origin is like https://api.example.com, not ${origin}`)
  }
  // Compared as text, character by character up to the path: nothing is parsed that another parser might read otherwise.
  const isNamed = (url: string): boolean =>
    origins.some((origin) => url.startsWith(origin) && /^([/?#]|$)/.test(url.slice(origin.length)))

  return async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const request = new Request(input, init)
    if (!isNamed(request.url)) throw new TypeError(`${request.url} is not of an origin that may see the token`)
    const { response } = await repeat(async (token) => {
      const copy = request.clone()
      copy.headers.set('Authorization', `Bearer ${token}`)
      return { response: await fetch(copy) }
    })
    return response
  }
}
