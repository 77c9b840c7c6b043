import t from 'tap'
import { type CodeBinding, createOneTimeCodes } from '../../src/security/one-time-code.ts'
import { createSecrets } from '../../src/security/secrets.ts'

const secrets = createSecrets([{ id: 'k1', key: Buffer.alloc(32, 1) }])
const codes = createOneTimeCodes({ secrets, length: 6 })
const sms: CodeBinding = {
  challengeId: '8d5ad3f5-0000-4000-8000-000000000001',
  userId: '8d5ad3f5-0000-4000-8000-000000000002',
  purpose: 'login',
  method: 'sms',
}
const email: CodeBinding = { ...sms, method: 'email' }

t.test('codes that were sent stay right: how they are made is fixed', async (t) => {
  // Made by another language's library.
  const [text, mail] = [codes.issue(sms), codes.issue(email)]
  t.same(
    [text.code, text.mac.toString('hex'), text.keyId],
    ['261489', 'fc31bcb799a590606cf5db03bbd6a69f7339658430905b25eb267568a7c1ee65', 'k1'],
  )
  t.same(
    [mail.code, mail.mac.toString('hex'), mail.keyId],
    ['135838', 'ae166c76db076b533225dad998a18bb6bf09f2d73bd2d51ed0b9191a2fa78a06', 'k1'],
  )
})

t.test('somebody who reads the mailbox and types its code as the one of a text', async (t) => {
  const [text, mail] = [codes.issue(sms), codes.issue(email)]
  t.not(text.code, mail.code, 'each method has its own code')
  t.equal(codes.again(sms, 'k1'), text.code)
  t.equal(codes.again(email, 'k1'), mail.code)
  t.equal(codes.again(email, 'k2'), null, 'none when its key is gone')
  for (const { code } of [text, mail]) {
    t.not(codes.macs(sms, code).k1, codes.macs(email, code).k1, 'even the same digits are judged apart')
  }
  t.equal(codes.macs(email, mail.code).k1, mail.mac.toString('hex'), 'while each is right in its own place')
})

t.test('a code is read as people write it, and is nothing but ASCII digits', async (t) => {
  for (const typed of [
    '123456',
    ' 123 456\r\n',
    '123-456',
    '123–456',
    '123\u2212456',
    '\u202a123456\u202c',
    '12\u00ad3456',
  ]) {
    t.equal(codes.read(typed), '123456', JSON.stringify(typed))
  }
  const others = ['', '12345', '1234567', '１２３４５６', '١٢٣٤٥٦', '12345é', '0x1234', '+12345', '12.345', '123456\0']
  for (const typed of others) t.equal(codes.read(typed), null, JSON.stringify(typed))
})
