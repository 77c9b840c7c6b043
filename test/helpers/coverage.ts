import module, { syncBuiltinESMExports } from 'node:module'

// Loaded into every test process. The source maps that tsx makes name the .ts files but hold no text of them
// (`sourcesContent: [null]`). The coverage report takes that for an empty file and finds everything in it covered;
// without that member it reads the files themselves.
const { findSourceMap } = module
module.findSourceMap = (path) => {
  const map = findSourceMap(path)
  if (map?.payload.sourcesContent?.some((text) => text === null)) {
    Object.defineProperty(map, 'payload', { value: { ...map.payload, sourcesContent: undefined } })
  }
  return map
}
syncBuiltinESMExports()
