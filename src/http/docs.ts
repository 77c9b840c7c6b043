import swaggerUi from '@fastify/swagger-ui'
import type { Config } from '../config.ts'
import type { App } from '../features/app-type.ts'
import { markSvg } from '../look.ts'
import { docsScript } from './docs-script.ts'
import { docsCss } from './docs-style.ts'

const onThisPage =
  '\n\n**To try a call, open it and press “Execute”.** A token that an answer hands out is filled in for the calls that take ' +
  'it: the pending token of a login that has begun, the access token of one that is finished. In development codes are read at `GET /dev/sms` and `GET /dev/mail`.'

/** A page to read and try the API, at `GET /docs`: swagger-ui with the product's own look, also behind a path. */
export async function registerDocs(app: App, { publicUrl }: Pick<Config, 'publicUrl'>): Promise<void> {
  await app.register(async (docs) => {
    docs.addHook('onRoute', (route) => {
      route.config = { ...route.config, access: 'public', limits: ['default'] }
    })
    docs.addHook('onRequest', async (_request, reply) => {
      reply.header('Cache-Control', 'public, max-age=300')
    })
    // Its one redirect, from /docs/static/index.html: relative too.
    docs.addHook('onSend', async (_request, reply) => {
      if (reply.hasHeader('Location')) reply.header('Location', '../')
    })
    await docs.register(swaggerUi, {
      routePrefix: '/docs',
      staticCSP: policyFor(publicUrl),
      theme: {
        title: 'Doorstep: the calls, to read and try',
        favicon: [{ filename: 'mark.svg', rel: 'icon', sizes: 'any', type: 'image/svg+xml', content: markSvg }],
        css: [{ filename: 'doorstep.css', content: docsCss }],
        js: [{ filename: 'doorstep.js', content: docsScript }],
      },
      // Stands in a bar that this layout does not have.
      logo: { type: 'image/svg+xml', content: markSvg },
      // Functions are sent to the page as text; what this one names is there once the page's own script has run.
      uiConfig: { layout: 'BaseLayout', tryItOutEnabled: true, plugins: [pageScript], defaultModelsExpandDepth: 0 },
      transformSpecification: (document) => ({
        ...document,
        info: { ...document.info, description: `${document.info.description}${onThisPage}` },
      }),
      transformSpecificationClone: false,
      // Relative: also behind a proxy that serves all this under a path of its own.
      indexPrefix: '.',
    })
  })
}

const pageScript = new Function('return window.doorstep.plugin()') as () => object

/** Its own files, pictures within them, and calls to the service, whichever of its addresses the page was opened at. */
const policyFor = (publicUrl: string): string =>
  [
    `default-src 'none'`,
    `script-src 'self'`,
    `style-src 'self'`,
    `img-src 'self' data:`,
    `connect-src 'self' ${new URL(publicUrl).origin}`,
    `base-uri 'none'`,
    `form-action 'none'`,
    `frame-ancestors 'none'`,
  ].join(';')
