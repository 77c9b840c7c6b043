import {
  type RegistrationResponseJSON,
  verifyAuthenticationResponse,
  verifyRegistrationResponse,
} from '@simplewebauthn/server'
import { decodeAttestationObject } from '@simplewebauthn/server/helpers'
import { algorithmOf } from './passkey-key.ts'
import { readAssertion, readRegistration } from './passkey-response.ts'

/** What is stored of a passkey beside its id and its counter; `public_key` is the base64url of a COSE key. */
export type PasskeyData = {
  public_key: string
  algorithm: number
  backup_eligible: boolean
  backed_up: boolean
  transports: string[]
}

/** A passkey as the store hands it out; `credential_id` in base64url. */
export type StoredPasskey = { credential_id: string; counter: number; data: PasskeyData }

/** `hwk`: its key cannot leave the device; `swk`: it can be backed up (RFC 8176). */
export type PasskeyAmr = 'hwk' | 'swk'

export type NewPasskey = { credential_id: Buffer; data: PasskeyData; counter: number; amr: PasskeyAmr }

export type ProvenPasskey = {
  /** As it says: one no higher than before may be that of a copy (WebAuthn section 6.1.1). */
  counter: number
  backedUp: boolean
  userVerified: boolean
  amr: PasskeyAmr
}

export type AssertionQuestion = {
  challenges: readonly Buffer[]
  credential: StoredPasskey
  /** Of the user whose passkey it is, base64url. */
  userHandle: string
  requireVerification: boolean
}

const challengeBytes = 32
const es256 = -7
/** Bytes of the two numbers of ES256, each with a zero before it, and what they are wrapped in. */
const longestDer = 72

type Rules = { rpId: string; origins: readonly string[]; algorithms: readonly number[] }

/** WebAuthn section 7.1. @throws for most of what is wrong */
export async function judgeRegistration(
  rules: Rules,
  challenges: readonly Buffer[],
  sent: unknown,
): Promise<NewPasskey | null> {
  const response = readRegistration(sent)
  if (!response || !isUnattested(response)) return null
  const { verified, registrationInfo } = await verifyRegistrationResponse({
    ...expectationsOf(rules, challenges),
    response,
    expectedType: 'webauthn.create',
    requireUserPresence: true,
    requireUserVerification: false,
    supportedAlgorithmIDs: [...rules.algorithms],
  })
  if (!verified || registrationInfo.credential.id !== response.id) return null
  const { credential, credentialBackedUp, credentialDeviceType } = registrationInfo
  const algorithm = algorithmOf(credential.publicKey)
  if (algorithm === null) return null
  const isEligible = credentialDeviceType === 'multiDevice'
  return {
    credential_id: Buffer.from(credential.id, 'base64url'),
    data: {
      public_key: Buffer.from(credential.publicKey).toString('base64url'),
      algorithm,
      backup_eligible: isEligible,
      backed_up: credentialBackedUp,
      transports: [...new Set(credential.transports)],
    },
    counter: credential.counter,
    amr: amrOf(isEligible),
  }
}

/** WebAuthn section 7.2. @throws for most of what is wrong */
export async function judgeAssertion(
  rules: Rules,
  question: AssertionQuestion,
  sent: unknown,
): Promise<ProvenPasskey | null> {
  const { credential_id, data } = question.credential
  const response = readAssertion(sent)
  if (!response || response.id !== credential_id || !isNamed(question, response.response.userHandle)) return null
  const publicKey = new Uint8Array(Buffer.from(data.public_key, 'base64url'))
  if (!rules.algorithms.includes(data.algorithm) || algorithmOf(publicKey) !== data.algorithm) return null
  if (data.algorithm === es256 && !isExactDer(response.response.signature)) return null
  const { verified, authenticationInfo } = await verifyAuthenticationResponse({
    ...expectationsOf(rules, question.challenges),
    response,
    expectedType: 'webauthn.get',
    requireUserVerification: question.requireVerification,
    // The library would refuse a counter that goes back; 0 leaves it to whoever stores it.
    credential: { id: credential_id, publicKey, counter: 0 },
  })
  // Until it is verified, all the rest is what an attacker wrote.
  if (!verified) return null
  const { credentialBackedUp, credentialDeviceType, newCounter, userVerified } = authenticationInfo
  if ((credentialDeviceType === 'multiDevice') !== data.backup_eligible) return null
  return { counter: newCounter, backedUp: credentialBackedUp, userVerified, amr: amrOf(data.backup_eligible) }
}

const amrOf = (isBackupEligible: boolean): PasskeyAmr => (isBackupEligible ? 'swk' : 'hwk')

function expectationsOf({ rpId, origins }: Rules, challenges: readonly Buffer[]) {
  const asked = challenges.filter(({ length }) => length === challengeBytes).map((it) => it.toString('base64url'))
  return {
    // Never a plain value: where that is missing, a client that sends none would be right.
    expectedChallenge: (challenge: string): boolean => asked.includes(challenge),
    expectedOrigin: [...origins],
    expectedRPID: rpId,
  }
}

/** Passwordless, the passkey must say whose it is; behind a password it may, and then it must be right. */
function isNamed({ userHandle, requireVerification }: AssertionQuestion, sent: string | undefined): boolean {
  return sent === undefined ? !requireVerification : sent === userHandle
}

/**
 * Whether it is the one spelling of two numbers (DER, ITU-T X.690 section 10; RFC 3279 section 2.2.3): the library reads
 * on where something follows, takes other tags for these, and numbers that begin with zeros or are negative.
 */
function isExactDer(signature: string): boolean {
  const bytes = Buffer.from(signature, 'base64url')
  if (bytes.length > longestDer) return false
  const r = bytes.subarray(4, 4 + (bytes[3] ?? 0))
  const s = bytes.subarray(6 + r.length)
  const spelt = Buffer.from([0x30, 4 + r.length + s.length, 0x02, r.length, ...r, 0x02, s.length, ...s])
  return bytes.equals(spelt) && isShortest(r) && isShortest(s)
}

/** A positive number, with a zero before it only where its first bit would say that it is negative. */
function isShortest([first = 0x80, second = 0]: Buffer): boolean {
  return first < 0x80 && (first > 0 || second >= 0x80)
}

/**
 * Whether this is what a browser leaves of an attestation that nobody asked for (WebAuthn section 5.4.7): none, or the
 * new key's own signature. Certificates go no further: whoever checks them asks servers that they name.
 */
function isUnattested({ response }: RegistrationResponseJSON): boolean {
  const attestation = decodeAttestationObject(new Uint8Array(Buffer.from(response.attestationObject, 'base64url')))
  const format = attestation.get('fmt')
  return format === 'none' || (format === 'packed' && attestation.get('attStmt').get('x5c') === undefined)
}
