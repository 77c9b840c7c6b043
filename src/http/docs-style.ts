import { lookCss, markSvg } from '../look.ts'

const mark = `url("data:image/svg+xml;base64,${Buffer.from(markSvg).toString('base64')}")`

/** The page's own style sheet, over that of swagger-ui. `#swagger-ui` makes each rule stronger than those it replaces. */
export const docsCss = `${lookCss}
html, html.dark-mode, body { background: var(--paper) }
html #swagger-ui .swagger-ui { background: none; color: var(--ink) }
#swagger-ui, #swagger-ui :is(h1, h2, h3, h4, h5, p, li, table, button, select, label, small, .title, .opblock-tag, .opblock-summary-description,
  .info a, .servers-title, .response-col_status) {
  font-family: var(--sans);
}
#swagger-ui :is(pre, code, textarea, .opblock-summary-path, .opblock-summary-method, .base-url) { font-family: var(--mono) }
#swagger-ui :is(p, li, td, th, h1, h2, h3, h4, h5, label, .title, .opblock-tag, .opblock-summary-path,
  .opblock-title, .tab button, .parameter__name) { color: var(--ink) }
#swagger-ui :is(.opblock-summary-description, .parameter__type, .parameter__in, .opblock-tag small, .info .base-url) {
  color: var(--quiet);
}
#swagger-ui :is(.info, .markdown, .renderedMarkdown) a { color: var(--accent) }
#swagger-ui :is(.markdown, .renderedMarkdown) code { background: var(--raised); color: var(--ink); font-weight: 500 }
#swagger-ui .wrapper { max-width: 72rem }
#swagger-ui .info { margin: 2.5rem 0 1.5rem }
#swagger-ui .info .title { display: flex; flex-wrap: wrap; align-items: center; gap: 0.75rem; font-size: 2rem }
#swagger-ui .info .title::before { content: ''; width: 2.5rem; height: 2.5rem; background: ${mark} }
#swagger-ui .info .title > span { display: flex; gap: 0.4rem }
#swagger-ui .info .title small { position: static; background: var(--raised); border-radius: 99px; padding: 0.2rem 0.6rem }
#swagger-ui .info .title small pre { color: var(--quiet); font-family: var(--sans) }
#swagger-ui .info__summary p, #swagger-ui .info p { font-size: 1rem; line-height: 1.6 }
#swagger-ui .scheme-container { background: none; box-shadow: none; padding: 0 0 1rem; margin: 0 }
#swagger-ui .btn { border-radius: var(--radius); box-shadow: none; color: var(--ink); border-color: var(--line) }
#swagger-ui .btn:is(.authorize, .modal-btn) { color: var(--accent); border-color: var(--accent) }
#swagger-ui .btn.authorize svg { fill: var(--accent); color: var(--accent) }
#swagger-ui .btn.execute { background: var(--accent); border-color: var(--accent); color: var(--on-accent) }
#swagger-ui .btn.cancel { color: var(--danger); border-color: var(--danger) }
#swagger-ui :is(.opblock-tag, .opblock-section-header, .modal-ux-header, section.models, section.models h4) {
  border-color: var(--line);
}
#swagger-ui :is(.opblock, section.models, .modal-ux) {
  background: var(--card); border: 1px solid var(--line); border-radius: var(--radius); box-shadow: none;
}
#swagger-ui .opblock :is(.opblock-summary, thead tr td, thead tr th) { border-color: var(--line) }
#swagger-ui .opblock .opblock-body > * { border-top-color: var(--line) }
#swagger-ui :is(.opblock-section-header, .model-container, .model-box, .json-schema-2020-12) {
  background: var(--raised); box-shadow: none;
}
#swagger-ui .opblock-summary-method {
  background: var(--accent); color: var(--on-accent); border-radius: 6px; text-shadow: none; font-weight: 600;
}
#swagger-ui .opblock-get .opblock-summary-method { background: var(--raised); color: var(--accent) }
#swagger-ui .opblock-delete .opblock-summary-method { background: var(--danger); color: var(--paper) }
#swagger-ui .opblock .tab-header .tab-item.active h4 span::after { background: var(--accent) }
#swagger-ui :is(input, select, textarea) { border-color: var(--line); border-radius: var(--radius); color: var(--ink) }
#swagger-ui :is(textarea, input[type='text'], input[type='password']) { background: var(--raised) }
#swagger-ui :is(a, button, input, select, textarea, [tabindex]):focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px;
}
#swagger-ui .opblock .opblock-summary-path { flex-shrink: 1; max-width: none; word-break: break-word }
@media (max-width: 40rem) {
  #swagger-ui .wrapper { padding: 0 1rem }
  #swagger-ui .opblock-summary { flex-wrap: wrap }
  #swagger-ui .opblock-summary-description { flex-basis: 100%; padding: 0.25rem 0.6rem }
  #swagger-ui :is(.opblock-body, .responses-inner, .table-container) { overflow-x: auto }
}
`
