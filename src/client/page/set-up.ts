import type { Challenge } from '../index.ts'
import { make, say } from './dom.ts'
import { words } from './words/index.ts'

/** What an authenticator app needs: a picture to scan, and the same to type. Nothing for other methods. */
export function setUpPart(challenge: Challenge): Node[] {
  if (challenge.method !== 'totp' || challenge.setup === undefined) return []
  const { enrol } = words()
  const { qr, secret, uri } = challenge.setup
  const inFours = secret.replace(/(.{4})(?=.)/g, '$1 ')
  return [
    // On a phone there is nothing to scan with: there the picture opens the app.
    make('a', { href: uri }, make('img', { class: 'qr', src: qr, alt: enrol.qr })),
    make('details', {}, make('summary', {}, enrol.secret), say(inFours, 'code')),
  ]
}
