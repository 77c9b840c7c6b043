import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

/** Where the page's own files stand: as they were written, or as the build has made them. */
const folder = new URL('../../client/page/', import.meta.url)

/** What the page is made of, each with its media type. */
export const pageFiles = {
  'index.html': 'text/html; charset=utf-8',
  'page.css': 'text/css; charset=utf-8',
  'page.js': 'text/javascript; charset=utf-8',
  'logo.svg': 'image/svg+xml; charset=utf-8',
} as const

export type PageFile = keyof typeof pageFiles

/** Nothing but files of this service, calls to it, and the picture of a secret: no inline script or style, nobody else's. */
export const pagePolicy = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'"],
  ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ...["require-trusted-types-for 'script'", "trusted-types 'none'"],
].join(';')

/**
 * One file of the page. Its module is one file when the service was built (`npm run build`); where it runs from its sources, it
 * is put together as it is asked for, so that a change is there after a reload.
 */
export async function readPageFile(name: PageFile): Promise<string> {
  try {
    return await readFile(new URL(name, folder), 'utf8')
  } catch (error) {
    if (name !== 'page.js' || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    return await bundle()
  }
}

async function bundle(): Promise<string> {
  const { build } = await import('esbuild')
  const entry = fileURLToPath(new URL('page.ts', folder))
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: 'esm', write: false })
  return outputFiles.map(({ text }) => text).join('')
}
