import t from 'tap'
import { noTexts } from '../../src/sms/none.ts'

t.test('a service without texts says that none can go, and gives back what was counted for one', async (t) => {
  t.equal(noTexts.isAvailable(), false)
  const text = { id: 1, to: '+12025550123', body: '123456', validForSeconds: 300 }
  t.match(await noTexts.send(text), { outcome: 'refused', reason: 'ours', isCertain: true })
  noTexts.close()
})
