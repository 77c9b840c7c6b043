import { fileURLToPath } from 'node:url'

const top = new URL('../../', import.meta.url)
const isCompiled = import.meta.filename.endsWith('.js')

/** What Node is told first, so that it can load what `codeOf` names. */
export const loader: string[] = isCompiled ? [] : [`--import=${import.meta.resolve('tsx')}`]

/** The file to run for a module of this repository: as `npm test` compiled it, if this test was compiled too. */
export function codeOf(module: `${'src' | 'test'}/${string}.ts`): string {
  return fileURLToPath(new URL(isCompiled ? `.build/${module.replace(/\.ts$/, '.js')}` : module, top))
}
