import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

type Pair = { publicKey: KeyObject; privateKey: KeyObject }

/** A certificate in DER (RFC 5280) as makers of authenticators have them (WebAuthn section 8.2.1), signed by its own P-256 key. */
export function makersCertificate(pair: Pair): Buffer {
  const subject = [
    attribute(6, 0x13, 'GB'),
    attribute(10, 0x0c, 'Maker'),
    attribute(11, 0x0c, 'Authenticator Attestation'),
    attribute(3, 0x0c, 'Maker'),
  ]
  const noAuthority = sequence(der(0x06, Buffer.from([0x55, 0x1d, 0x13])), der(0x04, sequence()))
  return certificate(pair, { subject, until: '491231235959Z', extension: noAuthority })
}

/** Key and certificate, in PEM, of a server of this name; trusted by whoever has the certificate itself. */
export function serverCertificate(name: string, until = '491231235959Z'): { key: string; cert: string } {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const names = sequence(der(0x82, Buffer.from(name)))
  const extension = sequence(der(0x06, Buffer.from([0x55, 0x1d, 0x11])), der(0x04, names))
  const bytes = certificate(pair, { subject: [attribute(3, 0x0c, name)], until, extension })
  const cert = `-----BEGIN CERTIFICATE-----\n${bytes.toString('base64')}\n-----END CERTIFICATE-----\n`
  return { key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert }
}

const attribute = (last: number, tag: number, text: string): Buffer =>
  der(0x31, sequence(der(0x06, Buffer.from([0x55, 4, last])), der(tag, Buffer.from(text))))

/** `until` as UTCTime, such as `491231235959Z`. */
function certificate(pair: Pair, parts: { subject: Buffer[]; until: string; extension: Buffer }): Buffer {
  const ecdsaWithSha256 = sequence(der(0x06, Buffer.from('2a8648ce3d040302', 'hex')))
  const name = sequence(...parts.subject)
  const toBeSigned = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1])),
    ecdsaWithSha256,
    name,
    sequence(der(0x17, Buffer.from('250101000000Z')), der(0x17, Buffer.from(parts.until))),
    name,
    pair.publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(parts.extension)),
  )
  const signature = sign('sha256', toBeSigned, pair.privateKey)
  return sequence(toBeSigned, ecdsaWithSha256, der(0x03, Buffer.from([0]), signature))
}

const sequence = (...parts: Buffer[]): Buffer => der(0x30, ...parts)

function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content])
  return Buffer.concat([Buffer.from([tag, 0x82, length >> 8, length & 0xff]), content])
}
