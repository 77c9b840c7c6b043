// `npx tsx test/helpers/freeze.ts 1.1` writes down what release 1.1 has: from then on test/versions.test.ts keeps it.
import { writeFileSync } from 'node:fs'
import { publicSurface } from './public-surface.ts'

const release = process.argv[2] ?? ''
if (!/^\d+\.\d+$/.test(release)) throw new Error('Say which release: 1.1')
writeFileSync(
  new URL(`../frozen/${release}.json`, import.meta.url),
  `${JSON.stringify(await publicSurface(), null, 2)}\n`,
)
