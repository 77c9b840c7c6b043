import { createHash, type KeyObject, randomBytes, sign } from 'node:crypto'
import type {
  AuthenticationResponseJSON,
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
  RegistrationResponseJSON,
} from '@simplewebauthn/server'
import { type Cbor, cbor } from './cbor.ts'
import { type Algorithm, coseAlgorithms, coseKey, keyPair } from './passkey-keys.ts'

export type { Algorithm } from './passkey-keys.ts'

/** What a browser or an authenticator may do otherwise than it should. */
export type Overrides = {
  /** In the client data, which the browser writes. */
  type?: string
  challenge?: string | undefined
  origin?: string
  crossOrigin?: boolean
  topOrigin?: string
  /** In the authenticator data. */
  rpId?: string
  present?: boolean
  verified?: boolean
  backupEligible?: boolean
  backedUp?: boolean
  counter?: number
  /** In the answer. */
  id?: string
  userHandle?: string | null
  /** Which bit of the signature is the other one. */
  flippedBit?: number
  /** Signs, or is registered, as of this algorithm, with a fresh key of it when signing. */
  algorithm?: Algorithm
  /** Signs with a key of nobody's. */
  otherKey?: boolean
  /** What is said of a new key; `signed` is the signature of `data` by the new key itself. Otherwise nothing. */
  attest?: (data: Buffer, signed: Buffer) => { format: string; statement: [Cbor, Cbor][] }
  /** The id of a new passkey: one of 32 bytes that another has. */
  newId?: string
  /** How long the id of a new passkey is; 32 bytes. */
  idBytes?: number
  /** Members of the COSE key that are others. */
  keyMembers?: [number, Cbor][]
}

type Credential = {
  id: string
  rpId: string
  userHandle: string
  key: KeyObject
  algorithm: Algorithm
  counter: number
}

export type Authenticator = ReturnType<typeof createAuthenticator>

/**
 * A passkey authenticator and the browser before it, in software: answers the options as `toJSON()` would. It is asked for
 * one algorithm, verifies its user and counts, unless told otherwise.
 * @throws Error where a browser would refuse: a passkey it has is excluded, the algorithm is not asked for, none is allowed
 */
export function createAuthenticator(device: {
  origin: string
  algorithm?: Algorithm
  backupEligible?: boolean
  backedUp?: boolean
  verifiesUser?: boolean
  counts?: boolean
}) {
  const algorithm = device.algorithm ?? 'ES256'
  const credentials: Credential[] = []

  const clientDataOf = (type: string, challenge: string, wrong: Overrides): Buffer =>
    Buffer.from(
      JSON.stringify({
        type: wrong.type ?? type,
        challenge: 'challenge' in wrong ? wrong.challenge : challenge,
        origin: wrong.origin ?? device.origin,
        crossOrigin: wrong.crossOrigin ?? false,
        ...(wrong.topOrigin !== undefined && { topOrigin: wrong.topOrigin }),
      }),
    )

  /** RP id hash, flags, counter (WebAuthn section 6.1), before what is attested. */
  const authenticatorDataOf = (credential: Credential, wrong: Overrides, attested?: Buffer): Buffer => {
    const flags = [
      [0x01, wrong.present ?? true],
      [0x04, wrong.verified ?? device.verifiesUser ?? true],
      [0x08, wrong.backupEligible ?? device.backupEligible ?? false],
      [0x10, wrong.backedUp ?? device.backedUp ?? false],
      [0x40, attested !== undefined],
    ] as const
    const head = Buffer.alloc(5)
    head[0] = flags.reduce((sum, [bit, isSet]) => (isSet ? sum | bit : sum), 0)
    head.writeUInt32BE(wrong.counter ?? credential.counter, 1)
    return Buffer.concat([sha256(wrong.rpId ?? credential.rpId), head, attested ?? Buffer.alloc(0)])
  }

  return {
    /** The ids of its passkeys, the newest last. */
    ids: (): string[] => credentials.map(({ id }) => id),

    /** Makes a passkey, as `navigator.credentials.create()`. */
    register: (options: PublicKeyCredentialCreationOptionsJSON, wrong: Overrides = {}): RegistrationResponseJSON => {
      const has = ({ id }: { id: string }): boolean => credentials.some((it) => it.id === id)
      if (options.excludeCredentials?.some(has)) throw new Error('InvalidStateError: it has a passkey of this account')
      if (!options.pubKeyCredParams.some(({ alg }) => alg === coseAlgorithms[algorithm])) {
        throw new Error('NotSupportedError: its algorithm is not asked for')
      }
      const pair = keyPair(algorithm)
      const id = wrong.newId ?? randomBytes(wrong.idBytes ?? 32).toString('base64url')
      const rpId = options.rp.id ?? new URL(device.origin).hostname
      const credential = { id, rpId, userHandle: options.user.id, key: pair.privateKey, algorithm, counter: 0 }
      credentials.push(credential)

      const clientData = clientDataOf('webauthn.create', options.challenge, wrong)
      const key = coseKey(pair.publicKey, wrong.algorithm ?? algorithm)
      for (const [name, value] of wrong.keyMembers ?? []) key.set(name, value)
      const attested = Buffer.concat([
        Buffer.alloc(16),
        uint16(wrong.idBytes ?? 32),
        Buffer.from(id, 'base64url'),
        cbor(key),
      ])
      const authenticatorData = authenticatorDataOf(credential, wrong, attested)
      const data = Buffer.concat([authenticatorData, sha256(clientData)])
      const { format, statement } = wrong.attest?.(data, signed(credential, data)) ?? { format: 'none', statement: [] }
      const attestation = cbor(
        new Map<Cbor, Cbor>([
          ['fmt', format],
          ['attStmt', new Map(statement)],
          ['authData', authenticatorData],
        ]),
      )
      return {
        ...frameOf(wrong.id ?? id),
        clientExtensionResults: { credProps: { rk: true } },
        response: {
          clientDataJSON: clientData.toString('base64url'),
          attestationObject: attestation.toString('base64url'),
          authenticatorData: authenticatorData.toString('base64url'),
          publicKey: pair.publicKey.export({ type: 'spki', format: 'der' }).toString('base64url'),
          publicKeyAlgorithm: coseAlgorithms[algorithm],
          transports: ['internal'],
        },
      }
    },

    /** Uses the first passkey that is allowed, the newest where any may be used, as `navigator.credentials.get()`. */
    assert: (options: PublicKeyCredentialRequestOptionsJSON, wrong: Overrides = {}): AuthenticationResponseJSON => {
      const allowed = options.allowCredentials ?? []
      const mayUse = ({ id, rpId }: Credential): boolean =>
        rpId === options.rpId && (allowed.length === 0 || allowed.some((it) => it.id === id))
      const credential = credentials.findLast(mayUse)
      if (!credential) throw new Error('NotAllowedError: it has no passkey that may be used')
      if (device.counts ?? true) credential.counter += 1

      const clientData = clientDataOf('webauthn.get', options.challenge, wrong)
      const authenticatorData = authenticatorDataOf(credential, wrong)
      const data = Buffer.concat([authenticatorData, sha256(clientData)])
      const userHandle = wrong.userHandle === undefined ? credential.userHandle : wrong.userHandle
      return {
        ...frameOf(wrong.id ?? credential.id),
        clientExtensionResults: {},
        response: {
          clientDataJSON: clientData.toString('base64url'),
          authenticatorData: authenticatorData.toString('base64url'),
          signature: signed(credential, data, wrong).toString('base64url'),
          ...(userHandle !== null && { userHandle }),
        },
      }
    },
  }
}

const frameOf = (id: string) => ({
  id,
  rawId: id,
  type: 'public-key' as const,
  authenticatorAttachment: 'platform' as const,
})

function signed(credential: Credential, data: Buffer, wrong: Overrides = {}): Buffer {
  const algorithm = wrong.algorithm ?? credential.algorithm
  const isOther = wrong.otherKey || algorithm !== credential.algorithm
  const key = isOther ? keyPair(algorithm).privateKey : credential.key
  const signature = sign(algorithm === 'EdDSA' ? null : 'sha256', data, key)
  if (wrong.flippedBit !== undefined) {
    const at = wrong.flippedBit >> 3
    signature[at] = (signature[at] ?? 0) ^ (1 << (wrong.flippedBit & 7))
  }
  return signature
}

const sha256 = (data: string | Buffer): Buffer => createHash('sha256').update(data).digest()

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}
