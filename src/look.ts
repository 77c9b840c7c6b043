/** How everything of the product that a person sees in a browser looks: its colours, in light and dark, and its mark. */
export const lookCss = `
:root {
  color-scheme: light dark;
  --accent: #0d5c54; --on-accent: #ffffff; --danger: #9b2c1f;
  --ink: #1b2421; --quiet: #56625d; --paper: #f5f2ea; --card: #fffefb; --raised: #e4efe9; --line: #dcd7c9;
  --radius: 10px; --sans: system-ui, sans-serif; --mono: ui-monospace, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --accent: #7fd6c5; --on-accent: #06251f; --danger: #ffab9d;
    --ink: #edf3f0; --quiet: #a6b5af; --paper: #0f1715; --card: #17221f; --raised: #1e302b; --line: #2b3a35;
  }
}
`

/** A door that stands open, as SVG: the icon of a tab, and what stands before the name. As on the example page. */
export const markSvg =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48"><title>Doorstep</title>' +
  '<rect width="48" height="48" rx="12" fill="#0d5c54"/><path d="M13 37V21a11 11 0 0 1 22 0v16z" fill="#ffd27a"/>' +
  '<path d="M13 37V21a11 11 0 0 1 8-10.600L27 15v26l-6-4z" fill="#f7f3e8"/>' +
  '<circle cx="23.500" cy="27" r="1.700" fill="#0d5c54"/><path d="M7 37h34v4H7z" fill="#f7f3e8"/></svg>'
