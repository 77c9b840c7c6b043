/** What a call wants that the session does not have (RFC 9470 3). */
export type StepUpChallenge = {
  /** The level: `aal1` (the password will do) or `aal2`. */
  acrValues: string | undefined
  /** Seconds that the proof may be old. */
  maxAge: number | undefined
}

const bearer = (response: Response): string =>
  (response.status === 401 && response.headers.get('www-authenticate')) || ''
const parameter = (header: string, name: string): string | undefined =>
  new RegExp(`[ ,]${name}="?([^",]*)`, 'i').exec(header)?.[1]

/** Reads the challenge of a refusal; nothing where it is none, or a page may not see the header. */
export function readStepUpChallenge(response: Response): StepUpChallenge | undefined {
  const header = bearer(response)
  if (parameter(header, 'error') !== 'insufficient_user_authentication') return undefined
  const maxAge = parameter(header, 'max_age')
  return { acrValues: parameter(header, 'acr_values'), maxAge: maxAge === undefined ? undefined : Number(maxAge) }
}

/** The access token was refused (RFC 6750 3.1). */
export const isTokenRefused = (response: Response): boolean => parameter(bearer(response), 'error') === 'invalid_token'
