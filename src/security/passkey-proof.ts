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
  /** The highest that was ever seen. */
  counter: number
  backedUp: boolean
  userVerified: boolean
  amr: PasskeyAmr
  /** `counter_back`: it counted no further than before, so that there may be two of it (WebAuthn section 6.1.1). */
  notices?: ['counter_back']
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
  const { credential_id, counter, data } = question.credential
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
    // The library would refuse a counter that goes back; 0 leaves it to us.
    credential: { id: credential_id, publicKey, counter: 0 },
  })
  // Until it is verified, all the rest is what an attacker wrote.
  if (!verified) return null
  const { credentialBackedUp, credentialDeviceType, newCounter, userVerified } = authenticationInfo
  if ((credentialDeviceType === 'multiDevice') !== data.backup_eligible) return null
  const isBack = (newCounter > 0 || counter > 0) && newCounter <= counter
  return {
    counter: Math.max(newCounter, counter),
    backedUp: credentialBackedUp,
    userVerified,
    amr: amrOf(data.backup_eligible),
    ...(isBack && { notices: ['counter_back'] }),
  }
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

/** Two integers and nothing behind them, with lengths of one byte; the library reads on where this is not so. */
function isExactDer(signature: string): boolean {
  const bytes = Buffer.from(signature, 'base64url')
  const first = bytes[3] ?? 0
  const second = bytes[5 + first] ?? 0
  return bytes[1] === bytes.length - 2 && bytes.length === 6 + first + second
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
