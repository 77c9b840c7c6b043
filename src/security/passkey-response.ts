import type { AuthenticationResponseJSON, RegistrationResponseJSON } from '@simplewebauthn/server'

/** The longest credential id (WebAuthn section 7.1), and the most that a whole credential may take as JSON, in bytes. */
export const passkeyLimits = { idBytes: 1023, credentialBytes: 16_384, transports: 16 }

const transportForm = /^[a-z0-9-]{1,32}$/

type Members = Record<string, unknown>

/**
 * What a client sent after `navigator.credentials.get`, with the members that are judged and no others; null when it has
 * another form, or was made inside somebody else's page.
 */
export function readAssertion(sent: unknown): AuthenticationResponseJSON | null {
  const frame = readFrame(sent)
  if (!frame) return null
  const { authenticatorData, signature } = frame.response
  const userHandle = frame.response.userHandle ?? undefined
  if (!isBase64Url(authenticatorData) || !isBase64Url(signature)) return null
  if (userHandle !== undefined && !isBase64Url(userHandle)) return null
  const { clientDataJSON } = frame
  const response = { clientDataJSON, authenticatorData, signature, ...(userHandle !== undefined && { userHandle }) }
  return { ...credentialOf(frame.id), response }
}

/** The same of what came after `navigator.credentials.create`. */
export function readRegistration(sent: unknown): RegistrationResponseJSON | null {
  const frame = readFrame(sent)
  if (!frame) return null
  const { attestationObject, transports = [] } = frame.response
  if (!isBase64Url(attestationObject) || !areTransports(transports)) return null
  const { clientDataJSON } = frame
  return { ...credentialOf(frame.id), response: { clientDataJSON, attestationObject, transports } }
}

function readFrame(sent: unknown): { id: string; clientDataJSON: string; response: Members } | null {
  if (!isObject(sent) || Buffer.byteLength(JSON.stringify(sent)) > passkeyLimits.credentialBytes) return null
  const { id, rawId, type, response } = sent
  if (!isBase64Url(id) || rawId !== id || type !== 'public-key' || !isObject(response)) return null
  if (Buffer.byteLength(id, 'base64url') > passkeyLimits.idBytes) return null
  const { clientDataJSON } = response
  if (!isBase64Url(clientDataJSON) || !isOfTopPage(clientDataJSON)) return null
  return { id, clientDataJSON, response }
}

const credentialOf = (id: string) => ({ id, rawId: id, type: 'public-key' as const, clientExtensionResults: {} })

/** Not in a frame of another site, which could lay its own words over the question (WebAuthn section 13.4.2). */
function isOfTopPage(clientDataJSON: string): boolean {
  const clientData: unknown = JSON.parse(Buffer.from(clientDataJSON, 'base64url').toString())
  if (!isObject(clientData)) return false
  const { crossOrigin = false, topOrigin } = clientData
  return crossOrigin === false && topOrigin === undefined
}

const isObject = (value: unknown): value is Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** In its one spelling: without padding, and no bits beside those that count. */
const isBase64Url = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && Buffer.from(value, 'base64url').toString('base64url') === value

const areTransports = (value: unknown): value is string[] =>
  Array.isArray(value) &&
  value.length <= passkeyLimits.transports &&
  value.every((it) => typeof it === 'string' && transportForm.test(it))
